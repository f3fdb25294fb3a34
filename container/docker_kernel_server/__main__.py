"""Start the server; ``--help`` says how."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import sys
from typing import TYPE_CHECKING, List, Optional

from . import __version__
from .bootstrap import ZygoteProcess

if TYPE_CHECKING:
    import ssl

    from .handshake import Secret

OPEN_FILES = 16 * 1024
"""Room for all connections and sessions; many systems give a process 1024 unless it asks."""

PR_SET_DUMPABLE = 4
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def main(args: Optional[List[str]] = None) -> int:
    """Run the server until it is told to stop; return the exit status."""
    parser = _parser()
    given = parser.parse_args(args)
    has_secret = given.secret_from_stdin or given.secret_file is not None
    if not has_secret and given.host not in LOOPBACK and not given.allow_unauthenticated:
        parser.error(
            f"listening on {given.host} without a secret would let anybody run code here. "
            "Use --secret-file, or --host 127.0.0.1, or say --allow-unauthenticated"
        )
    workplace = os.path.abspath(given.workplace)
    _make_folders(parser, workplace)
    _make_room_for_files()
    # As early as can be: IPython's import takes a while, and a client is sure to come.
    with contextlib.closing(_start_zygote(parser, given, workplace)) as zygote:
        secret = _read_secret(parser, given) if has_secret else None
        tls = _tls(parser, given.tls_cert, given.tls_key)
        return _serve(given, workplace, zygote, secret, tls)


def _start_zygote(
    parser: argparse.ArgumentParser, given: argparse.Namespace, workplace: str
) -> ZygoteProcess:
    try:
        return ZygoteProcess(given.python, given.lent, workplace)
    except OSError as exc:
        parser.error(f"--python: {given.python} is not there, or can't be run: {exc.strerror}")


def _serve(
    given: argparse.Namespace,
    workplace: str,
    zygote: ZygoteProcess,
    secret: "Optional[Secret]",
    tls: "Optional[ssl.SSLContext]",
) -> int:
    import asyncio  # slow, as all that the server is made of

    from .server import Options, Server

    options = Options(
        workplace=workplace,
        host=given.host,
        port=given.port,
        secret=secret,
        tls=tls,
        lease=given.lease,
        first_lease=given.first_lease,
        end_with_stdin=given.end_with_stdin,
        python=given.python,
        lent=given.lent,
        zygote=zygote,
    )

    async def serve() -> None:
        await Server(options).serve()

    try:
        asyncio.run(serve())
    except OSError as exc:
        where = f"{given.host}:{given.port}"
        sys.stderr.write(
            f"The server can't listen on {where}: {exc.strerror or exc}. "
            "If something else holds the port, choose another one with --port, or 0 for any.\n"
        )
        return 1
    return 0


def _close_to_others() -> None:
    """Let no other process of this user read our memory, where the secret is, and leave no core
    dump. What we start isn't bound by it: a new program begins open again."""
    with contextlib.suppress(ImportError, OSError, AttributeError):  # not Linux, or no ctypes
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _read_secret(parser: argparse.ArgumentParser, given: argparse.Namespace) -> "Secret":
    """The secret, from standard input or a file."""
    from .handshake import MIN_SECRET_BYTES, Secret

    _close_to_others()
    advice = (
        f"write one line of {MIN_SECRET_BYTES} bytes at least, such as what this prints: "
        "openssl rand -hex 32"
    )
    if given.secret_from_stdin:
        where = "--secret-from-stdin"
        secret = Secret(sys.stdin.buffer.readline().strip())
    else:
        where = f"--secret-file {given.secret_file}"
        try:
            with open(given.secret_file, "rb") as file:
                secret = Secret(file.readline().strip())
        except OSError as exc:
            who = f"this user (uid {os.getuid()})"
            parser.error(f"{where}: {exc.strerror}, to {who}; let it read it, and {advice}")
    if len(secret) < MIN_SECRET_BYTES:
        found = f"it has {len(secret)} bytes" if secret else "there is none"
        parser.error(f"{where}: {found}; {advice}")
    return secret


def _tls(
    parser: argparse.ArgumentParser, cert: Optional[str], key: Optional[str]
) -> "Optional[ssl.SSLContext]":
    """TLS with this certificate, whose fingerprint is printed; None where there is none."""
    if not cert:
        if key:
            parser.error("--tls-key: name its certificate, too: --tls-cert FILE")
        return None
    import hashlib
    import ssl  # not every Python in an image has it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, lambda: "")
        with open(cert, encoding="ascii", errors="replace") as file:
            first = re.findall("-----BEGIN CERT.*?-----END CERT[^\n]*", file.read(), re.DOTALL)[0]
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
    except (OSError, ValueError, IndexError) as exc:
        parser.error(
            f"--tls-cert, --tls-key: {getattr(exc, 'strerror', None) or exc}; name PEM files, the "
            "certificate first, and a key without a password"
        )
    sys.stderr.write(f"TLS: the SHA-256 fingerprint of the certificate is {digest}\n")
    sys.stderr.flush()  # Python 3.8 would keep it to the end, in a log
    return context


def _make_folders(parser: argparse.ArgumentParser, workplace: str) -> None:
    """The working folder has to be there; HOME is made, as pip and IPython write to it."""
    home = os.environ.get("HOME", "")
    try:
        os.makedirs(workplace, exist_ok=True)
        if home:
            os.makedirs(home, mode=0o700, exist_ok=True)
    except OSError as exc:
        parser.error(f"a folder can't be made: {exc}")


def _make_room_for_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a bound that it doesn't tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tcp_server.py",
        description="Runs Python sessions and shell commands for clients that connect over TCP.",
    )
    add = parser.add_argument
    add("--workplace", default=".", metavar="DIR", help="the folder that code runs in (default: .)")
    add("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    add("--port", type=int, default=8000, help="the port; 0 for any (default: %(default)s)")
    source = parser.add_mutually_exclusive_group().add_argument
    source("--secret-from-stdin", action="store_true", help="read the secret: one line on stdin")
    source("--secret-file", metavar="FILE", help="read the secret: the first line of this file")
    add("--tls-cert", metavar="FILE", help="speak TLS, with this certificate (PEM)")
    add("--tls-key", metavar="FILE", help="its key, where that is in a file of its own")
    add(
        "--allow-unauthenticated",
        action="store_true",
        help="serve whoever reaches the port, on any address, without a secret",
    )
    add("--lease", type=float, metavar="SECONDS", help="end after this long without any client")
    add("--first-lease", type=float, metavar="SECONDS", help="the same until the first one comes")
    add("--end-with-stdin", action="store_true", help="end when standard input does")
    add("--python", default=sys.executable, help="the Python of the sessions (default: this one)")
    add("--lent", default="", metavar="DIR", help="packages for a Python that has no IPython")
    add("--version", action="version", version=__version__)
    return parser


if __name__ == "__main__":
    sys.exit(main())
