"""Is the server there? Exit status 0 where it answers, and 1, with the reason, where it doesn't.

    python -I -S health.py PORT

For the HEALTHCHECK of an image, so it must not count as a client: that would hold the server's
lease. It says hello in a protocol that there isn't, which needs no secret, and is refused. It is
run by its path, and imports nothing of the server.
"""

from __future__ import annotations

import json
import socket
import sys

SECONDS = 4.0
HELLO = b'{"type":"hello","id":"health","protocol":0,"nonce":"%s"}\n' % (b"0" * 64)
MAX_ANSWER_BYTES = 64 * 1024


def main(port: int) -> str:
    """Why the server at this port of loopback isn't well; "" where it is."""
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as plain:
            answer = ask(plain)
        # One that speaks TLS hangs up, and may send an alert before, which is no JSON.
        answer = answer if answer.startswith(b"{") else ask_in_tls(port)
    except OSError as exc:
        return f"port {port}: {exc}"
    try:
        refused = json.loads(answer)["code"] == "version_mismatch"
    except (ValueError, KeyError, TypeError):
        refused = False
    return "" if refused else f"port {port}: what answers is no server of docker-kernel's"


def ask(connection: socket.socket) -> bytes:
    """The one line that the server sends before it hangs up. Raises OSError."""
    connection.settimeout(SECONDS)
    connection.sendall(HELLO)
    answer = b""
    while len(answer) < MAX_ANSWER_BYTES:
        piece = connection.recv(4096)
        answer += piece
        if not piece or b"\n" in piece:
            break
    return answer


def ask_in_tls(port: int) -> bytes:
    """The same of a server that speaks TLS. Raises OSError."""
    import ssl  # not every Python in an image has it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is told to it that a stranger may not know.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", port), SECONDS)
    with plain, context.wrap_socket(plain) as connection:
        return ask(connection)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])) or 0)
