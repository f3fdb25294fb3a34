"""Passes bytes between its own standard streams and the server's port.

For a client that can't reach the port: the container has no network.

It is run by its path, with the port as its only argument, and imports nothing of the server. It has
no thread and starts nothing, so that it works where code has used up all processes.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
from typing import Dict

PIECE_BYTES = 256 * 1024
STDIN, STDOUT = 0, 1


def main(port: int) -> None:
    """Pass bytes on until either side ends."""
    server = socket.create_connection(("127.0.0.1", port))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for fd in (STDIN, STDOUT, server.fileno()):
        os.set_blocking(fd, False)
    with contextlib.suppress(OSError, EOFError):
        _pass_on(server.fileno())
    os._exit(0)


def _pass_on(server: int) -> None:
    # What was read and isn't written yet. Both ways go on by themselves: whoever waits until it can
    # write goes on reading.
    to_server, to_client = memoryview(b""), memoryview(b"")
    sending = True
    while True:
        events = (select.POLLOUT if to_server else 0) | (0 if to_client else select.POLLIN)
        stdin = select.POLLIN if sending and not to_server else 0
        ready = _wait({server: events, STDIN: stdin, STDOUT: select.POLLOUT if to_client else 0})
        if to_server and ready.get(server, 0) & ~select.POLLIN:
            try:
                to_server = to_server[os.write(server, to_server) :]
            except OSError:  # it takes no more; what it has said may still be on its way
                to_server, sending = memoryview(b""), False
        elif STDIN in ready:
            to_server = _read(STDIN)
        if STDOUT in ready:
            to_client = to_client[os.write(STDOUT, to_client) :]
        elif not to_client and ready.get(server, 0) & ~select.POLLOUT:
            to_client = _read(server)


def _wait(wanted: Dict[int, int]) -> Dict[int, int]:
    poll = select.poll()
    for fd, events in wanted.items():
        if events:  # else a hang-up, which comes unasked, would be told again and again
            poll.register(fd, events)
    return dict(poll.poll())


def _read(fd: int) -> memoryview:
    """What is there. EOFError at the end."""
    data = os.read(fd, PIECE_BYTES)
    if not data:
        raise EOFError
    return memoryview(data)


if __name__ == "__main__":
    main(int(sys.argv[1]))
