"""Cells of %docker lines: the kernel does them itself, on the host's side."""

from __future__ import annotations

import asyncio
import threading
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import outputs
from .asking import SessionKernel
from .cancelling import CalledOff, Cancellation
from .errors import UsageError
from .launcher import in_thread
from .manage import lines
from .manage.work import Work
from .router import Asker
from .subshells import Content

if TYPE_CHECKING:
    from .client import Client
    from .manage.manager import Answer, Manager

PROGRESS_AFTER, PROGRESS_EVERY = 2.0, 1.0
"""Seconds of waiting after which a cell shows how it goes, and how often."""

LET_GO_SECONDS = 4.0
"""How long an interrupted line may take to leave things in order; then the cell ends without it."""


class Interrupted(Exception):
    """The person has interrupted a line; the text says what came of it."""


class ManagedKernel(SessionKernel):
    """A kernel that does %docker lines."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._works: dict[Work, Callable[[], object]] = {}
        """The lines that are being done, and how to let their cells go."""
        self._works_lock = threading.Lock()

    @cached_property
    def _manager(self) -> Manager:
        from .manage.manager import Manager  # slow, and most notebooks have no such line

        return Manager(self._launcher)

    async def _client(self, parent: Content, silent: bool) -> Client:
        """The client, when the sandbox has started."""
        raise NotImplementedError

    def _count_from_session(self) -> None:
        """Take over the number of the next cell, where the session has begun anew."""
        raise NotImplementedError

    async def do_complete(self, code: str, cursor_pos: int | None) -> Content:
        """Completions; of %docker's words by this side."""
        if lines.lines_of(code):
            return lines.complete(code, len(code) if cursor_pos is None else cursor_pos)
        return await super().do_complete(code, cursor_pos)

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> Content:
        """What the object at the cursor is; for %docker its help."""
        if lines.lines_of(code):
            data = {"text/plain": lines.help_text()}
            return {"status": "ok", "found": True, "data": data, "metadata": {}}
        return await super().do_inspect(code, cursor_pos, detail_level, omit_sections)

    async def _manage(
        self, cell: Sequence[str], asker: Asker, silent: bool, allow_stdin: bool
    ) -> Content:
        """Do the lines of a cell one after another, and raise what the first of them that fails
        raises. Where one can't be read, none is done."""
        payload = []
        for line in [lines.parse(text) for text in cell]:
            if line.action == lines.HELP:
                page = {"text/plain": lines.help_text()}
                payload.append({"source": "page", "data": page, "start": 0})
                continue
            if lines.ACTIONS[line.action].running:
                await self._client(asker.parent, silent)
            try:
                answer = await self._do(line, asker, silent, allow_stdin)
            finally:
                self._count_from_session()
            if not silent:
                self._iopub.publish(_display(answer), asker.parent)
        return {"status": "ok", "user_expressions": {}, "payload": payload}

    async def _do(self, line: Namespace, asker: Asker, silent: bool, allow_stdin: bool) -> Answer:
        """Do one line in a thread, and wait for it, or for an interrupt."""

        def ask(question: str, cancellation: Cancellation) -> bool:
            if not allow_stdin:
                raise UsageError(
                    f"%docker {line.action} was not done",
                    f"it takes a person's yes, and nobody can be asked here: {question}",
                    "run it in a notebook that a person looks at",
                )
            return self._router.ask_person(asker, question, cancellation)

        loop = asyncio.get_running_loop()
        work, let_go = Work(ask), asyncio.Event()
        shown: list[str] = []
        progress = asyncio.ensure_future(
            self._show_progress(asker.parent, shown, lambda: "" if silent else work.now())
        )
        with self._works_lock:
            self._works[work] = lambda: loop.call_soon_threadsafe(let_go.set)
        done: asyncio.Future[Any] = asyncio.wrap_future(
            in_thread(lambda: self._manager.do(line, work), "manage")
        )
        waiting: asyncio.Future[Any] = asyncio.ensure_future(let_go.wait())
        try:
            await asyncio.wait({done, waiting}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({done}, timeout=LET_GO_SECONDS)
        finally:
            waiting.cancel()
            progress.cancel()
            with self._works_lock:
                del self._works[work]
        if shown:  # it has no place in a notebook that is kept
            self._iopub.publish(outputs.Output("clear_output", {"wait": False}), asker.parent)
        if not done.done():
            done.add_done_callback(lambda late: late.exception())  # or asyncio complains
            raise Interrupted("you interrupted it; what the engine was asked for may be done yet")
        try:
            answer: Answer = done.result()
        except CalledOff as exc:
            raise Interrupted("you interrupted it, and nothing was changed") from exc
        return answer

    def _interrupt_works(self) -> None:
        """Call off the lines that are being done. Any thread may call it."""
        with self._works_lock:
            works = dict(self._works)
        for work, let_go in works.items():
            work.cancellation.cancel()
            let_go()

    async def _show_progress(
        self, parent: Content, shown: list[str], now: Callable[[], str]
    ) -> None:
        await asyncio.sleep(PROGRESS_AFTER)
        while True:
            text = now()
            if text and text not in shown[-1:]:
                shown.append(text)
                self._iopub.publish(outputs.stream("stderr", text + "\n"), parent)
            await asyncio.sleep(PROGRESS_EVERY)


def _display(answer: Answer) -> outputs.Output:
    data = {"text/plain": str(answer)}
    if not isinstance(answer, str):
        data["text/html"] = answer._repr_html_()
    return outputs.Output("display_data", {"data": data, "metadata": {}, "transient": {}})
