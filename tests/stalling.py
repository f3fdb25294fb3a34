"""An engine that hangs: a proxy before its socket that withholds the answers to some calls."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from pathlib import Path

_CALL = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (?:/v[\d.]+)?(/\S*) HTTP/1")


class StallingEngine:
    """Passes on all calls; the answer to one that fits `pattern` never comes.

    The engine itself does what was asked: nobody hears of it. `pattern` is matched with "POST
    /containers/create?name=x", and can be set at any time; "" fits none. `stalled` is what fitted.
    """

    def __init__(self, target: str, folder: Path) -> None:
        self.pattern = ""
        self.stalled: list[str] = []
        self._target = target
        self._open: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / "engine.sock"))
        self._server.listen(100)
        self.url = f"unix://{folder}/engine.sock"
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        """Refuse what comes, and cut what is there."""
        for item in (self._server, *self._open):
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for item in (self._server, *self._open):
            item.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.socket(socket.AF_UNIX)
                self._open += [near, far]
                far.connect(self._target)
                stalled = threading.Event()
                for work in (self._ask, self._answer):
                    thread = threading.Thread(target=work, args=(near, far, stalled))
                    self._threads.append(thread)
                    thread.start()

    def _ask(self, near: socket.socket, far: socket.socket, stalled: threading.Event) -> None:
        with suppress(OSError):
            while data := near.recv(65536):
                if (call := _CALL.match(data)) and self.pattern:
                    words = f"{call[1].decode()} {call[2].decode()}"
                    if re.search(self.pattern, words):
                        self.stalled.append(words)
                        stalled.set()
                far.sendall(data)
        with suppress(OSError):
            far.shutdown(socket.SHUT_WR)

    def _answer(self, near: socket.socket, far: socket.socket, stalled: threading.Event) -> None:
        with suppress(OSError):
            while data := far.recv(65536):
                if not stalled.is_set():
                    near.sendall(data)
            if not stalled.is_set():
                near.shutdown(socket.SHUT_WR)
