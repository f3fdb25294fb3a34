"""Passes bytes between its own standard streams and the server's port.

For a client that can't reach the port: the container has no network.

It is run by its path, with the port as its only argument, and imports nothing of the server.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

PIECE_BYTES = 256 * 1024


def main(port: int) -> None:
    """Pass bytes on until either side ends."""
    server = socket.create_connection(("127.0.0.1", port))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pass_in() -> None:
        with contextlib.suppress(OSError):
            while True:
                data = os.read(0, PIECE_BYTES)
                if not data:
                    break
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=pass_in, daemon=True).start()
    with contextlib.suppress(OSError):
        while True:
            data = server.recv(PIECE_BYTES)
            if not data:
                break
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    # Not by way of the interpreter's end: that would wait for the thread, which waits to read.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
