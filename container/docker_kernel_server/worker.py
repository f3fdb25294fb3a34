"""One session's process: its variables, and the thread that talks to the server.

The main thread runs an event loop, so that tasks which a cell leaves behind go on between cells,
and runs cells in it, one after another; a subshell does the same in a thread of its own (lanes.py).
A reader thread takes the server's lines and gives each to its lane. What Python prints goes over
the wire in exact order with displays; what children and C libraries write goes through a pipe of
the cell's own, whose read end the server gets, so that it streams while this process holds its GIL,
and still belongs to its cell when that has long ended.
"""

from __future__ import annotations

import asyncio
import atexit
import builtins
import contextlib
import gc
import getpass
import importlib
import os
import platform
import queue
import select
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections import OrderedDict
from typing import Any, Dict, Iterator, Optional

from . import installed, processes, variables
from .descriptors import CellPipes, flush_foreign_buffers
from .errors import ProtocolError, RequestRefused
from .framing import LineSplitter, load_line
from .interrupts import Interrupts
from .lanes import Lane, running, start_subshell
from .messages import (
    CloseSession,
    CloseSubshell,
    CommInfo,
    Complete,
    Execute,
    Final,
    History,
    InputReply,
    Inspect,
    Interrupt,
    IsComplete,
    Pull,
    Push,
    Request,
    parse_request,
    unpack_buffers,
)
from .output import Output, install_streams, put_back
from .packages import Choice, prepare_errors
from .shells import Console, Reply
from .shells.choosing import make_shell
from .surroundings import surroundings

READ_BYTES = 256 * 1024

WIRE_CHECK_SECONDS = 1
"""How soon a worker notices that its own code has closed its wire."""

END_OF_INPUT = "\x04"
"""What a frontend answers where the person typed Ctrl-D."""

IDLE_SECONDS = 0.05
"""After so long without a request, a session makes itself ready for its first error. Programs that
run a notebook ask sooner."""

MAX_SUBSHELLS = 100
"""Each is a thread."""

MAX_PARENTS = 1000
"""How many cells' Jupyter messages are kept, for threads that outlive their cell."""

CONTENT_KEYS = ("code", "silent", "store_history", "user_expressions", "allow_stdin")


def run(wire: socket.socket, pipes: socket.socket, choice: Choice) -> int:
    """Be a session's worker until the server closes the wire; return the exit status."""
    # A group of its own: an interrupt reaches the cell's children, and nobody else's.
    os.setsid()
    installed.catch_up()
    installed.add_work_folder()
    return Worker(wire, pipes, choice).run()


class Worker(Console):
    """See the module's docstring."""

    def __init__(self, wire: socket.socket, pipes: socket.socket, choice: Choice) -> None:
        self._wire = wire
        self._pipes = CellPipes(pipes)
        self._pid = os.getpid()
        self._victim = processes.Victim()
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._interrupts = Interrupts(self._loop)
        self._output = Output(wire)
        self._parents: OrderedDict[str, Dict[str, Any]] = OrderedDict()
        self._main = Lane(self._loop, self._handle_in_main, self._ended)
        self._idle: Optional[asyncio.TimerHandle] = None
        self._subshells: Dict[str, Lane] = {}
        # For each running cell whose frontend can answer questions.
        self._answers: Dict[str, queue.SimpleQueue[Optional[str]]] = {}
        self._asking = threading.Lock()
        self._pipes.open("")
        self._streams = install_streams(self._output)
        self._shell, self._notes = make_shell(self, choice)
        # Where the lent packages came first, what is imported from now on is the image's own.
        self._rest: Optional[Iterator[None]]
        self._rest = prepare_errors() if self._shell.name == "ipython" and choice.later else None
        self._interrupts.code = type(self._shell).execute.__code__
        self._interrupts.follow_forks()
        # An interrupt may come between the making of a coroutine and its first step. That a shell's
        # own never ran is no news to the person.
        message = r"coroutine '\w+Shell\.\w+' was never awaited"
        warnings.filterwarnings("ignore", message, RuntimeWarning)
        builtins.input = self._input
        getpass.getpass = self._getpass

    def run(self) -> int:
        """Serve until the session is closed."""
        info = {"python": platform.python_version(), "notes": self._notes, **self._shell.info()}
        self._output.emit("ready", "", {"info": info})
        threading.Thread(target=self._read, name="docker-kernel-reader", daemon=True).start()
        task = self._loop.create_task(self._main.serve())
        self._interrupts.task = task
        self._prepare_after(IDLE_SECONDS)
        for _ in running(self._loop, task):
            # Between cells as well, a signal's handler of the person's may raise what it likes, and
            # an interrupt come up between two callbacks of the person's own tasks.
            try:
                self._loop.run_forever()
            except KeyboardInterrupt:
                continue
            except BaseException:
                if task.done():
                    raise
                traceback.print_exc(file=self._streams["stderr"])
        _run_exit_handlers()
        self._output.close()
        return 0

    # -- the server's lines

    def _read(self) -> None:
        lines = LineSplitter()
        poll = select.poll()
        poll.register(self._wire, select.POLLIN)
        while True:
            # A wire that the cell's code has closed stays open as long as somebody waits in it.
            if not poll.poll(WIRE_CHECK_SECONDS * 1000):
                continue
            try:
                data = self._wire.recv(READ_BYTES)
            except OSError:
                data = b""
            if not data:
                # The server is gone. Nobody would read what the cell makes, or could stop it.
                os.killpg(0, signal.SIGKILL)
            for line in lines.feed(data):
                if isinstance(line, bytes):
                    request = parse_request(load_line(line))
                    if isinstance(request, Request):
                        self._route(request)

    def _route(self, request: Request) -> None:
        if isinstance(request, InputReply):
            answers = self._answers.get(request.request)
            if answers is not None:
                answers.put(request.value)
        elif isinstance(request, Interrupt):
            self._interrupts.doom(request.id)
        elif isinstance(request, CloseSession):
            self._main.put(None)
        elif isinstance(request, CloseSubshell):
            lane = self._subshells.pop(request.subshell, None)
            if lane is not None:
                lane.put(None)
            self._finish(Final(request.id, 0, result={"running": lane is not None}))
        else:
            try:
                self._lane(getattr(request, "subshell", "")).put(request)
            except RequestRefused as exc:
                self._finish(Final(request.id, 1, "refused", exc.message, exc.code))

    def _lane(self, subshell: str) -> Lane:
        if not subshell:
            return self._main
        if subshell not in self._subshells:
            if len(self._subshells) >= MAX_SUBSHELLS:
                raise RequestRefused(f"there are {MAX_SUBSHELLS} subshells already; close one")
            try:
                self._subshells[subshell] = start_subshell(subshell, self._handle, self._ended)
            except RuntimeError as exc:
                raise RequestRefused(f"there can be no further subshell: {exc}") from exc
        return self._subshells[subshell]

    def _ended(self) -> bool:
        return self._shell.exit_requested

    # -- a lane's requests

    async def _handle_in_main(self, request: Request) -> None:
        self._stay_as_it_is()
        await self._handle(request)
        self._prepare_after(IDLE_SECONDS)

    def _prepare_after(self, seconds: float) -> None:
        """Most sessions have this from the zygote; the first one was forked before."""
        self._stay_as_it_is()
        if self._rest is not None:
            self._idle = self._loop.call_later(seconds, self._prepare)

    def _prepare(self) -> None:
        # Step by step: whoever asks for something in the midst of it waits for one.
        if self._rest is not None and next(self._rest, True):
            self._rest = None
        self._prepare_after(0)

    def _stay_as_it_is(self) -> None:
        if self._idle is not None:
            self._idle.cancel()

    async def _handle(self, request: Request) -> None:
        try:
            await self._serve(request)
        finally:
            # Here, where nobody waits for it; and what a signal's handler or a finder of the
            # person's own raises must not end the session.
            with contextlib.suppress(Exception):
                if isinstance(request, Execute):
                    self._victim.end(request.id)
                    # The cell may have installed a package in the same tick of the clock in which
                    # its folder was last read.
                    importlib.invalidate_caches()
        if self._shell.exit_requested:
            self._main.put(None)  # it may be waiting, and this one be a subshell

    async def _serve(self, request: Request) -> None:
        started = time.perf_counter()
        _forget_cancellation()
        self._output.enter(request.id)
        self._parents[request.id] = _jupyter_message(request)
        if len(self._parents) > MAX_PARENTS:
            self._parents.popitem(last=False)
        status, reason, code = 0, "ok", ""
        result: Any = None
        try:
            if isinstance(request, Execute):
                self._victim.begin(request.id)
                result = await self._execute(request)
                if result["status"] != "ok":
                    interrupted = self._interrupts.came and not request.subshell
                    status, reason = 1, "interrupt" if interrupted else "error"
            else:
                result = self._answer(request)
        except ProtocolError as exc:
            status, reason, result, code = 1, "refused", exc.message, exc.code
        except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - each request gets its final
            status, reason, result = 1, "error", f"{type(exc).__name__}: {exc}"
        if os.getpid() != self._pid:
            # A child that the cell forked came out of it. The session is the parent.
            self._output.flush()
            os._exit(0)
        seconds = time.perf_counter() - started
        self._finish(Final(request.id, status, reason, result, code, seconds))

    async def _execute(self, request: Execute) -> Reply:
        put_back(self._streams)
        if request.allow_stdin:
            self._answers[request.id] = queue.SimpleQueue()
        try:
            if request.subshell:
                if request.cwd is not None or request.env:
                    raise RequestRefused("'cwd' and 'env' are the main shell's: a thread has none")
                return await self._shell.execute(request)
            with surroundings(request.cwd, request.env):
                return await self._execute_in_main(request)
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError) as exc:
            # It came up in the shell's own code, outside of what the shell catches.
            return self._shell.abandoned(exc)
        finally:
            answers = self._answers.pop(request.id, None)
            if answers is not None:
                answers.put(None)  # a thread of the cell may be waiting
            for stream in self._streams.values():
                stream.buffer.finish()
            flush_foreign_buffers()

    async def _execute_in_main(self, request: Execute) -> Reply:
        # The descriptors are the process's, and so a subshell's cell has none of its own.
        self._pipes.open(request.id)
        try:
            with self._interrupts.running(request.id):
                return await self._shell.execute(request)
        except Exception:
            if not self._interrupts.came:
                raise
            # The shell's own code has stumbled over an interrupt that came while it dealt with one.
            return self._shell.abandoned(KeyboardInterrupt())

    def _answer(self, request: Request) -> Any:
        if isinstance(request, Complete):
            return self._shell.complete(request)
        if isinstance(request, Inspect):
            return self._shell.inspect(request)
        if isinstance(request, IsComplete):
            return self._shell.is_complete(request)
        if isinstance(request, History):
            return self._shell.history(request)
        if isinstance(request, CommInfo):
            return self._shell.comm_info(request)
        if isinstance(request, Push):
            return variables.push(request, self._shell)
        if isinstance(request, Pull):
            return variables.pull(request, self._shell)
        self._shell.comm(request, unpack_buffers(getattr(request, "buffers", [])))
        return None

    def _finish(self, final: Final) -> None:
        content = final.to_json()
        try:
            self._output.emit(content.pop("type"), content.pop("id"), content)
        except (ValueError, RecursionError, ProtocolError) as exc:
            failed = Final(final.id, 1, "error", f"the reply can't be sent: {exc}")
            content = failed.to_json()
            self._output.emit(content.pop("type"), content.pop("id"), content)

    # -- what the shell asks for

    def emit(self, kind: str, **content: Any) -> None:
        self._output.emit(kind, self._output.cell(), content)

    def parent(self) -> Dict[str, Any]:
        return self._parents.get(self._output.cell()) or _jupyter_message(None)

    def ask(self, prompt: str, password: bool) -> str:
        # One question at a time, for an answer doesn't say which one it is for.
        with self._asking:
            answers = self._answers.get(self._output.cell())
            if answers is None:
                name = "getpass" if password else "raw_input"
                raise self._shell.no_stdin_error(
                    f"{name} was called, but this frontend does not support input requests."
                )
            while not answers.empty():  # an answer to a question that was interrupted
                answers.get()
            self.emit("input_request", prompt=prompt, password=password)
            try:
                value = answers.get()
            except KeyboardInterrupt:
                raise KeyboardInterrupt("Interrupted by user") from None
        if value is None:
            raise EOFError("the cell has ended, and nobody answers any more")
        if value == END_OF_INPUT:
            raise EOFError
        return value

    def _input(self, prompt: object = "") -> str:
        """Read a line from the person."""
        return self.ask(str(prompt), False)

    def _getpass(self, prompt: str = "Password: ", stream: Any = None, **kwargs: Any) -> str:
        """Read a line from the person, who types it unseen."""
        return self.ask(prompt, True)


def _run_exit_handlers() -> None:
    """What Python does at its end; os._exit, which ends a fork, doesn't."""
    # IPython looks for garbage before it lets go of the variables. Through what completion has read
    # of libraries that takes 0.15 s, for which a restart would wait.
    gc.freeze()
    # The first are those of thread and process pools. The others wait for children that these end.
    for handler in reversed(getattr(threading, "_threading_atexits", [])):
        with contextlib.suppress(Exception):
            handler()
    atexit._run_exitfuncs()  # noqa: SLF001


def _jupyter_message(request: Optional[Request]) -> Dict[str, Any]:
    """The message of a frontend that became this request, as far as it is known here."""
    header = getattr(request, "parent", {})
    keys = CONTENT_KEYS if isinstance(request, Execute) else ()
    return {
        "header": header,
        "msg_id": header.get("msg_id", ""),
        "msg_type": header.get("msg_type", ""),
        "parent_header": {},
        "metadata": getattr(request, "metadata", {}),
        "content": {key: getattr(request, key) for key in keys},
        "buffers": [],
    }


def _forget_cancellation() -> None:
    """Let no interrupt of an earlier cell count as a wish to cancel this one (TaskGroup asks)."""
    task = asyncio.current_task()
    if task is not None and sys.version_info >= (3, 11):
        while task.cancelling():
            task.uncancel()
