"""The least that runs commands behind a socket: a thread a connection, `subprocess`, JSON lines.

python plain_server.py

Prints its port. A command ends where the client closes its sending side.
"""

from __future__ import annotations

import codecs
import json
import socketserver
import subprocess
import time

PIECE_BYTES = 1 << 16
RESULT_CHARS = 64 << 20
"""How much of the output comes again at the end: as much as the protocol has it."""


class Handler(socketserver.StreamRequestHandler):
    """One connection: one command."""

    def handle(self) -> None:
        """Run the command, and send what it prints as it comes."""
        command = self.rfile.read()
        began = time.monotonic()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        parts: list[str] = []
        room = RESULT_CHARS
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdout is not None
            while data := process.stdout.read(PIECE_BYTES):
                text = decoder.decode(data)
                self._send({"type": "chunk", "id": "", "data": text})
                if room > 0:
                    parts.append(text[:room])
                    room -= len(text)
        seconds = time.monotonic() - began
        final = {"type": "final", "id": "", "status": process.returncode, "result": "".join(parts)}
        self._send({**final, "seconds": seconds})

    def _send(self, message: dict[str, object]) -> None:
        self.wfile.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    """On loopback, on any port."""

    daemon_threads = True
    request_queue_size = 1024
    """As ours has it. With socketserver's own 5, one of 8 clients finds no room and comes again a
    second later; until then the others have the machine to themselves, and look quick."""


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
