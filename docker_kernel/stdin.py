"""Questions to the person: input() and getpass() of a cell, over Jupyter's stdin channel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import zmq
from jupyter_client.session import Session

from docker_kernel_server.messages import InputRequest

POLL_SECONDS = 0.05
"""How soon a question ends after its cell; an answer is taken at once."""

log = logging.getLogger(__name__)


class Question:
    """One question that waits for its answer in a thread of its own. `cancel` ends it.

    ``turn`` is held while the socket is used, as sockets aren't for several threads at a time.
    """

    def __init__(
        self,
        channel: tuple[Session, zmq.Socket[bytes], threading.Lock],
        request: InputRequest,
        asked_by: tuple[Any, Any],
        on_answer: Callable[[str], None],
    ) -> None:
        self._session, self._socket, self._turn = channel
        self._request = request
        self._ident, self._parent = asked_by
        self._on_answer = on_answer
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="docker-kernel stdin", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """The cell has ended: an answer is of no use any more. Doesn't wait."""
        self._cancelled.set()

    def _ask(self) -> None:
        with self._turn:
            self._drop_stale()
            content = {"prompt": self._request.prompt, "password": self._request.password}
            self._session.send(
                self._socket, "input_request", content, self._parent, ident=self._ident
            )
            while not self._cancelled.is_set():
                if not self._socket.poll(int(POLL_SECONDS * 1000)):
                    continue
                value = self._receive()
                if value is not None and not self._cancelled.is_set():
                    self._on_answer(value)
                    return

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
