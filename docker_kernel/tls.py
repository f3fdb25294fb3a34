"""TLS to a server: whom to trust, and the stream.

Python's TLS sockets can't be read by one thread while another one writes. So the bytes go through
memory here, under a lock, and only the waiting for the network is outside of it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
import threading
from pathlib import Path

from .errors import ConnectionLost, NotAServer, ServerNotTrusted, SettingError
from .sockets import RECEIVE_BYTES, SocketStream

SYSTEM = "system"
"""Trust the authorities that this machine trusts."""

PIECE_BYTES = 256 * 1024
"""How much is encrypted at a time."""

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class Trust:
    """Whom to trust, from the setting `tls`: "system", a fingerprint, or a file of certificates."""

    def __init__(self, setting: str) -> None:
        """Raises SettingError."""
        self.fingerprint = ""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        digits = setting.replace(":", "").replace(" ", "").lower()
        if setting == SYSTEM:
            self.context.load_default_certs()
        elif _FINGERPRINT.fullmatch(digits):
            self.fingerprint = digits
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
        else:
            self._load(Path(setting).expanduser())

    def _load(self, file: Path) -> None:
        try:
            self.context.load_verify_locations(file)
        except OSError as exc:  # an SSLError is one, too
            why = "it has no certificate" if isinstance(exc, ssl.SSLError) else str(exc.strerror)
            raise SettingError(
                f"tls names {str(file)!r}, which can't be used",
                why.lower(),
                "name a file with the certificate of the server's authority, the SHA-256 "
                f"fingerprint of the server's certificate, or {SYSTEM}",
            ) from exc

    def check(self, certificate: bytes, peer: str) -> None:
        """Raise ServerNotTrusted where the certificate is not the one of the fingerprint."""
        found = hashlib.sha256(certificate).hexdigest()
        if self.fingerprint and not hmac.compare_digest(found, self.fingerprint):
            raise ServerNotTrusted(
                f"the server at {peer} is not the one that you trust",
                f"the fingerprint of its certificate is {found}",
                "where you know that its certificate is a new one, set DOCKER_KERNEL_TLS to that; "
                "else somebody is in between",
            )


def secure(stream: SocketStream, trust: Trust, host: str) -> TlsStream:
    """TLS over a stream to a server of ours.

    Raises ServerNotTrusted, NotAServer, ConnectionLost.
    """
    try:
        made = TlsStream(stream, trust.context, host)
    except ssl.SSLCertVerificationError as exc:
        raise ServerNotTrusted(
            f"the server at {stream.peer} can't be trusted",
            exc.verify_message.lower(),
            "set DOCKER_KERNEL_TLS to the SHA-256 fingerprint of its certificate, which the "
            "server prints at its start, or to a file with the certificate of its authority",
        ) from exc
    except ssl.SSLError as exc:
        raise NotAServer(
            f"what listens at {stream.peer} does not speak TLS as this side does",
            (exc.reason or str(exc)).lower().replace("_", " "),
            "start it with --tls-cert and --tls-key, or unset DOCKER_KERNEL_TLS",
        ) from exc
    trust.check(made.certificate(), stream.peer)
    return made


class TlsStream(SocketStream):
    """A stream over TLS."""

    def __init__(self, stream: SocketStream, context: ssl.SSLContext, host: str) -> None:
        """Hold the handshake. Raises ssl.SSLError, ConnectionLost."""
        super().__init__(stream.socket, stream.peer)
        self._encrypted, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = host if context.check_hostname else None
        self._tls = context.wrap_bio(self._encrypted, self._to_send, server_hostname=name)
        self._lock = threading.Lock()
        # What is encrypted has to leave in the same order.
        self._sending = threading.Lock()
        self._shake_hands()

    def certificate(self) -> bytes:
        """The other end's, b"" where it has shown none."""
        return self._tls.getpeercert(binary_form=True) or b""

    def send(self, data: bytes) -> None:
        """Send all of it. Raises ConnectionLost."""
        view = memoryview(data)
        with self._sending:
            for start in range(0, len(view), PIECE_BYTES):
                with self._lock:
                    try:
                        self._tls.write(view[start : start + PIECE_BYTES])
                    except ssl.SSLError as exc:  # the thread that reads has met it, too
                        raise self._damaged(exc) from exc
                    out = self._to_send.read()
                super().send(out)

    def receive(self) -> bytes:
        """Wait for bytes; b"" at the end. Raises ConnectionLost."""
        try:
            while True:
                with self._lock:
                    try:
                        return self._tls.read(RECEIVE_BYTES)
                    except ssl.SSLWantReadError:
                        pass
                if not self._more():
                    return b""
        except ssl.SSLZeroReturnError:  # it has said goodbye
            return b""
        except ssl.SSLError as exc:
            raise self._damaged(exc) from exc

    def _damaged(self, exc: ssl.SSLError) -> ConnectionLost:
        return ConnectionLost(
            f"the connection to the server at {self.peer} was damaged", str(exc.reason).lower()
        )

    def _more(self) -> bool:
        data = super().receive()
        with self._lock:
            self._encrypted.write(data)
        return bool(data)

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                super().send(self._to_send.read())
                if not self._more():
                    raise ConnectionLost(
                        f"the server at {self.peer} hung up in the handshake of TLS"
                    ) from None
            else:
                super().send(self._to_send.read())
                return
