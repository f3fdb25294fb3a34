"""An engine that hangs, or goes away: a proxy before its socket, which can be closed, and withholds
the answers to some calls."""

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

    def __init__(self, target: str, at: Path | int) -> None:
        """Listen in the folder `at`, on a Unix socket; or on the port `at`, 0 for any."""
        self.pattern = ""
        self.stalled: list[str] = []
        self._target = target
        self._open: list[socket.socket] = []
        if isinstance(at, int):
            self._server = socket.create_server(("127.0.0.1", at))
            self.port = int(self._server.getsockname()[1])
            self.url = f"tcp://127.0.0.1:{self.port}"
        else:
            self._server = socket.socket(socket.AF_UNIX)
            self._server.bind(str(at / "engine.sock"))
            self._server.listen(100)
            self.url = f"unix://{at}/engine.sock"
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._serve)
        self._accepting.start()

    def close(self) -> None:
        """Refuse what comes, and cut what is there."""
        # First no more is accepted: what came in between would be cut by nobody.
        _cut(self._server)
        self._accepting.join()
        for item in self._open:
            _cut(item)
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


def _cut(item: socket.socket) -> None:
    with suppress(OSError):
        item.shutdown(socket.SHUT_RDWR)
