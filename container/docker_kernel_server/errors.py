"""What can be wrong with what the other side sent.

ProtocolError                 the base; ``code`` is for programs, the text is for people
    LineTooLong               a line past the bound; it is skipped up to its newline
    BadLine                   not UTF-8, not JSON, or not a JSON object
    UnknownType               a ``type`` that this side doesn't know
    BadMessage                a key that is missing or of the wrong type
    VersionMismatch           the two ends speak different versions of the protocol
    AuthenticationFailed      a wrong or missing proof, or a request before the proof
    NotThisProtocol           HTTP or TLS on a plain port, or a raw command where none are served
        RawCommandsOnly       an older server, that took the hello for a shell command
    RequestRefused            well-formed, but it can't be done (an unknown session, say)
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The base of all that the other side did wrong."""

    code = "protocol_error"

    @property
    def message(self) -> str:
        """The text for people."""
        return str(self)


class LineTooLong(ProtocolError):
    """A line longer than the bound."""

    code = "line_too_long"

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line is longer than {limit} bytes; it was skipped")


class BadLine(ProtocolError):
    """A line that is not one JSON object in UTF-8."""

    code = "bad_line"


class UnknownType(ProtocolError):
    """A message of a type that isn't known here."""

    code = "unknown_type"


class BadMessage(ProtocolError):
    """A message with a key missing, or a value of the wrong type."""

    code = "bad_message"


class VersionMismatch(ProtocolError):
    """The two ends speak different versions."""

    code = "version_mismatch"


class AuthenticationFailed(ProtocolError):
    """The secret is wrong or missing."""

    code = "authentication_failed"


class NotThisProtocol(ProtocolError):
    """Something that this port doesn't speak, at least not without being told to."""

    code = "not_this_protocol"


class RawCommandsOnly(NotThisProtocol):
    """An older server, which took the hello for a shell command."""


class RequestRefused(ProtocolError):
    """A well-formed request that can't be served."""

    code = "refused"
