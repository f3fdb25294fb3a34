"""A tiny engine over HTTP, for platforms and faults that can't be had: it says what it is told."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VERSION = {"Version": "28.0.1", "ApiVersion": "1.44", "MinAPIVersion": "1.24", "Os": "linux"}
INFO: dict[str, Any] = {
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "ServerVersion": "28.0.1",
    "DockerRootDir": "/",
    "CgroupVersion": "2",
    "CgroupDriver": "systemd",
    "MemoryLimit": True,
    "SwapLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "Warnings": None,
    "Name": "box",
}


class FakeEngine:
    """Answers on a Unix socket, or on a port of loopback.

    `answers` has a JSON value, or a whole answer in bytes, for each call ("GET /info"); `asked` is
    what was asked.
    """

    def __init__(self, folder: Path | None) -> None:
        now = datetime.now(timezone.utc).isoformat()
        self.answers: dict[str, Any] = {
            "GET /version": VERSION,
            "GET /info": {**INFO, "SystemTime": now},
        }
        self.asked: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                path = re.sub(r"^/v[\d.]+", "", self.path.partition("?")[0])
                call = f"{self.command} {path}"
                fake.asked.append(call)
                found = fake.answers.get(call, {"message": f"no answer to {call}"})
                if isinstance(found, bytes):
                    self.wfile.write(found)
                    return
                body = json.dumps(found).encode()
                self.send_response(200 if call in fake.answers else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the base class's names

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server: socketserver.BaseServer
        if folder is None:
            tcp = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            self._server, self.url = tcp, f"tcp://127.0.0.1:{tcp.server_port}"
        else:
            path = str(folder / "engine.sock")
            unix = socketserver.ThreadingUnixStreamServer(path, Handler)
            unix.daemon_threads = True
            self._server, self.url = unix, f"unix://{path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def info(self, **changes: Any) -> None:
        """Change what it says of itself."""
        self.answers["GET /info"] = {**self.answers["GET /info"], **changes}

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def fake_engine(folder: Path | None) -> Iterator[FakeEngine]:
    """One for the time of a with block: in a folder with a short path, or on a port."""
    fake = FakeEngine(folder)
    try:
        yield fake
    finally:
        fake.close()
