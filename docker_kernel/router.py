"""Where a session's events go: to the iopub channel, to the person, or into the session's notes.

All of it runs in the client's reading thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import zmq
from jupyter_client.session import Session as JupyterSession

from docker_kernel_server import messages as wire

from . import outputs
from .iopub import IOPub
from .session import Session
from .stdin import Question

MAX_PARENTS = 1000
"""For so many requests the message is kept, so that a thread's late output finds its cell."""

CLOSE_SECONDS = 2.0
"""How long `close` waits for the thread of a question; it looks up twenty times a second."""


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
        self._stdin = (jupyter, stdin, threading.Lock())
        self._askers: OrderedDict[str, Asker] = OrderedDict()
        self._last = Asker({})
        self._questions: dict[str, Question] = {}

    def expect(self, request_id: str, asker: Asker) -> None:
        """The events of this request belong to ``asker``."""
        self._askers[request_id] = asker
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

    def end_question(self, request_id: str) -> None:
        """The cell has ended: nobody waits for an answer any more."""
        question = self._questions.pop(request_id, None)
        if question is not None:
            question.cancel()

    def close(self) -> None:
        """Every cell has ended, and so has the use of the stdin socket."""
        for request_id in list(self._questions):
            self.end_question(request_id)
        # Taken for good: libzmq aborts the process where a socket is closed under a thread.
        self._stdin[2].acquire(timeout=CLOSE_SECONDS)

    def _ask(self, event: wire.InputRequest, asker: Asker, session: Session) -> None:
        def answer(value: str) -> None:
            client = session.sandbox.connected
            if client is not None:
                client.request(wire.InputReply(client.new_id(), session.name, event.id, value))

        # What was printed before the question has to be seen before it.
        self._iopub.flush()
        asked_by = (asker.ident, asker.parent)
        self._questions[event.id] = Question(self._stdin, event, asked_by, answer)
