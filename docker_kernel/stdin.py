"""Questions to the person: input() and getpass() of a cell, over Jupyter's stdin channel."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq
from jupyter_client.session import Session

from docker_kernel_server.messages import InputRequest

POLL_SECONDS = 0.05
"""How soon a question ends that is of no use any more; an answer is taken at once."""

CLOSE_SECONDS = 2.0
"""How long the end waits for the thread."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """A question of a cell: what is asked, of whom, and what to do with the answer."""

    request: InputRequest
    ident: Any
    parent: dict[str, Any]
    on_answer: Callable[[str], None]


class Questions:
    """Asks one question after another, in a thread of its own; the only user of the socket.

    A cell has one question at a time: a new one takes the place of the one before. `withdraw` ends
    what a cell has asked, `close` everything.
    """

    def __init__(self, session: Session, socket: zmq.Socket[bytes]) -> None:
        self._session = session
        self._socket = socket
        self._changed = threading.Condition()
        self._open: OrderedDict[str, Question] = OrderedDict()
        self._closed = False
        self._thread: threading.Thread | None = None

    def ask(self, question: Question) -> None:
        """Ask; the answer comes by its callback, if one comes."""
        with self._changed:
            if self._closed:
                return
            self._open[question.request.id] = question
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="docker-kernel stdin", daemon=True
                )
                self._thread.start()

    def withdraw(self, request_id: str) -> None:
        """The cell has ended: an answer is of no use any more. Doesn't wait."""
        with self._changed:
            self._open.pop(request_id, None)

    def close(self) -> None:
        """End all; the socket isn't touched after this."""
        with self._changed:
            self._closed = True
            self._open.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open or self._closed)
                if self._closed:
                    return
                question = next(iter(self._open.values()))
            try:
                self._put(question)
            except Exception:
                # One question that can't be asked must not cost the next ones.
                log.exception("a question could not be asked")
                self.withdraw(question.request.id)

    def _put(self, question: Question) -> None:
        """Ask one question until it is answered, or isn't open any more."""
        self._drop_stale()
        content = {"prompt": question.request.prompt, "password": question.request.password}
        self._session.send(
            self._socket, "input_request", content, question.parent, ident=question.ident
        )
        while self._open.get(question.request.id) is question:
            if not self._socket.poll(int(POLL_SECONDS * 1000)):
                continue
            value = self._receive()
            if value is None:
                continue
            with self._changed:
                if self._open.get(question.request.id) is not question:
                    return
                del self._open[question.request.id]
            question.on_answer(value)

    def _drop_stale(self) -> None:
        """Throw away answers to earlier questions, which nobody waits for."""
        while self._socket.poll(0):
            self._socket.recv_multipart()

    def _receive(self) -> str | None:
        try:
            _, reply = self._session.recv(self._socket)
            return None if reply is None else str(reply["content"]["value"])
        except Exception:
            # A message that can't be read (a wrong signature, no value): wait for a good one.
            log.warning("an answer on the stdin channel can't be read", exc_info=True)
            return None
