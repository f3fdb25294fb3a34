"""The proofs of the handshake; docs/protocol.md has how they are used."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from .errors import BadMessage

MIN_SECRET_BYTES = 16
"""A stranger gets a proof of the server's, and may try secrets against it at home, as fast as his
machines can. So a secret has to be a long one, however few guesses a server takes."""

_NONCE = re.compile(r"[0-9a-f]{32,128}")


class Secret(bytes):
    """A secret that doesn't show in a repr: in the locals of a traceback, say."""

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__


def make_secret() -> Secret:
    """A fresh one: 32 random bytes, in hex."""
    return Secret(secrets.token_hex(32).encode("ascii"))


def make_nonce() -> str:
    """32 random bytes, in hex."""
    return secrets.token_hex(32)


def check_nonce(nonce: str) -> None:
    """`BadMessage` for what is none.

    Hex alone, so that no newline in a nonce makes two pairs of nonces look the same to `prove`.
    """
    if not _NONCE.fullmatch(nonce):
        raise BadMessage("hello: 'nonce' must be 32 to 128 hex digits, in lower case")


def prove(secret: bytes, role: str, client_nonce: str, server_nonce: str) -> str:
    """The proof, in hex, that ``role`` ("client" or "server") knows ``secret``."""
    text = f"docker-kernel 1\n{role}\n{client_nonce}\n{server_nonce}"
    return hmac.new(secret, text.encode("utf-8"), hashlib.sha256).hexdigest()


def is_proof(found: str, expected: str) -> bool:
    """Whether they are the same; how long that takes doesn't depend on where they differ."""
    return hmac.compare_digest(expected.encode("ascii"), found.encode("utf-8", "replace"))
