"""Where a session's events go: to the iopub channel, to the person, or into the session's notes.

All of it runs in the client's reading thread.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import zmq
from jupyter_client.session import Session as JupyterSession

from docker_kernel_server import messages as wire

from . import outputs
from .cancelling import Cancellation
from .iopub import IOPub
from .session import Session
from .stdin import Question, Questions

MAX_PARENTS = 1000
"""For so many requests the message is kept, so that a thread's late output finds its cell."""


@dataclass(frozen=True)
class Asker:
    """The Jupyter message that a request stands for, and whom it came from."""

    parent: dict[str, Any]
    ident: Any = None


class Router:
    """Gives each event of a session to where it belongs."""

    def __init__(
        self,
        iopub: IOPub,
        jupyter: JupyterSession,
        stdin: zmq.Socket[bytes],
    ) -> None:
        self._iopub = iopub
        self._questions = Questions(jupyter, stdin)
        self._askers: OrderedDict[str, Asker] = OrderedDict()
        self._last = Asker({})
        self._running: set[str] = set()

    def expect(self, request_id: str, asker: Asker) -> None:
        """The events of this request belong to ``asker``."""
        self._askers[request_id] = asker
        self._running.add(request_id)
        if asker.parent.get("header", {}).get("msg_type") == "execute_request":
            self._last = asker
        if len(self._askers) > MAX_PARENTS:
            self._askers.popitem(last=False)

    def take(self, event: wire.Event, session: Session) -> None:
        """Handle one event."""
        # What nobody asked for (or asked long ago) goes to the cell that came last.
        asker = self._askers.get(event.id, self._last)
        if isinstance(event, wire.InputRequest):
            self._ask(event, asker, session)
        elif isinstance(event, wire.SessionDied):
            if event.session == session.name:
                session.forget(f"Before this cell {event.detail}. Variables were reset.")
        elif (output := outputs.output_of(event)) is not None:
            self._iopub.publish(output, asker.parent)

    def tell(self, text: str) -> None:
        """Show the person something, in the cell that runs; nowhere where none does."""
        if self._running:
            self._iopub.publish(outputs.stream("stderr", text + "\n"), self._last.parent)

    def ask_person(self, asker: Asker, question: str, cancellation: Cancellation) -> bool:
        """Whether the person says yes to a question of our own. Blocks; raises CalledOff."""
        request = wire.InputRequest(f"own-{secrets.token_hex(8)}", f"{question} [y/N] ")
        answered = threading.Event()
        answers: list[str] = []

        def answer(value: str) -> None:
            answers.append(value)
            answered.set()

        self._iopub.flush()
        self._questions.ask(Question(request, asker.ident, asker.parent, answer))
        try:
            with cancellation.waking(answered.set):
                answered.wait()
            cancellation.check()
        finally:
            self._questions.withdraw(request.id)
        return "".join(answers).strip().lower() in ("y", "yes")

    def end(self, request_id: str) -> None:
        """The request has ended: what it has asked the person is of no use any more."""
        self._running.discard(request_id)
        self._questions.withdraw(request_id)

    def close(self) -> None:
        """Everything has ended."""
        self._questions.close()

    def _ask(self, event: wire.InputRequest, asker: Asker, session: Session) -> None:
        def answer(value: str) -> None:
            client = session.sandbox.connected or session.sandbox.away
            if client is not None:
                client.request(wire.InputReply(client.new_id(), session.name, event.id, value))

        # The worker runs code that isn't trusted: it may ask in the name of what runs, no more.
        if event.id in self._running:
            # What was printed before the question has to be seen before it.
            self._iopub.flush()
            self._questions.ask(Question(event, asker.ident, asker.parent, answer))
