"""A company's network: an HTTPS server that containers reach, whose certificate no image trusts."""

from __future__ import annotations

import contextlib
import functools
import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import trustme

from system import CannotError


@dataclass(frozen=True)
class Company:
    """What is known of it."""

    host: str
    port: int
    ca: Path
    """The certificate of its authority."""
    stalled: threading.Event
    """Set when somebody has asked for a page with "stall" in its name, and waits for it."""

    @property
    def url(self) -> str:
        """Its first page; the folder is served as it is."""
        return f"https://{self.host}:{self.port}/"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of who asks; some pages never come."""

    server: Server

    def do_GET(self) -> None:
        """Serve a file, or let wait."""
        if "stall" in self.path:
            self.server.stalled.set()
            self.server.ending.wait()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """One whose clients may hang up in the handshake."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        self.stalled, self.ending = threading.Event(), threading.Event()
        super().__init__(address, functools.partial(Quiet, directory=str(folder)))

    def handle_error(self, *_: object) -> None:
        """That a client doesn't trust us is what the tests are about."""


@contextlib.contextmanager
def company(client: docker.DockerClient, folder: Path) -> Iterator[Company]:
    """Serve a folder, at the gateway of the engine's bridge. Raises CannotError."""
    networks = client.api.inspect_network("bridge")["IPAM"]["Config"]
    host = str(networks[0].get("Gateway") or "")
    authority = trustme.CA()
    ca = folder.parent / f"{folder.name}-authority.pem"
    authority.cert_pem.write_to_path(ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    try:
        server = Server((host, 0), folder)
    except OSError as exc:
        raise CannotError(f"the engine's bridge {host} isn't at hand here: {exc}") from exc
    # In the thread that serves the connection: one that is slow stops nobody else.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Company(host, server.server_port, ca, server.stalled)
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
