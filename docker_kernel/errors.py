"""What can go wrong, and whose move it is.

Every error says what happened, why, and what to do next.

DockerKernelError
    SettingError              a setting has a value that can't work
    EngineError               the Docker engine
        EngineNotFound        there is no engine on this machine
        EngineNotRunning      there is one, and it doesn't answer
        EngineDenied          it answers, and not to this user
        EngineRefused         it answered a request with an error; `status` is the HTTP status
    ImageError                the image
        ImageNotFound         not on this machine, and it can't be pulled
        LoginUnreadable       what Docker has stored for a private registry can't be read
        ImageNotBuilt         `docker-kernel build` has failed
        ImageHasNoPython      no Python was found in it
        ImagePythonTooOld     its Python is older than the server needs
    StartError                the server didn't start
        StartTimeout          it was too slow; names the slow step
        StartCancelled        it was stopped while it started
    ServerError               the running server
        ServerNotThere        nothing listens at the address
        NotAServer            something else listens there
            OlderServer       one that knows shell commands alone
        AuthenticationFailed  the two sides don't have the same secret
        ServerNotTrusted      its certificate isn't one that was to be trusted
        VersionMismatch       the two sides speak different versions of the protocol
        ConnectionLost        it was there, and is gone
        RequestRefused        it answered a request with an error, in its own words
    UsageError                a line of %docker asks for what can't be done
    TransferError             a file or a variable can't be moved, or arrived damaged
    CodeRefused               code that the settings don't let through; it was not sent
    AuditLogError             the audit log that was asked for can't be written
"""

from __future__ import annotations

from .texts import plain


class DockerKernelError(Exception):
    """The base of all our errors: `what` happened, `why`, and the `remedy` to try next."""

    def __init__(self, what: str, why: str = "", remedy: str = "") -> None:
        super().__init__(what, why, remedy)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        # Foreign text ends up in here (a server's answer, a log line), so newlines are folded: two
        # lines are what fits below a cell. And it may hold more than text.
        first = _one_line(self.what)
        if self.why:
            first = f"{first}: {_one_line(self.why)}"
        return f"{first}\nTo mend it: {_one_line(self.remedy)}" if self.remedy else first


def _one_line(text: str) -> str:
    return plain(" ".join(text.split()))


class SettingError(DockerKernelError, ValueError):
    """A setting has a value that can't work."""


class EngineError(DockerKernelError):
    """The Docker engine can't do what is asked."""


class EngineNotFound(EngineError):
    """No engine on this machine."""


class EngineNotRunning(EngineError):
    """An engine that doesn't answer."""


class EngineDenied(EngineError):
    """An engine that this user may not use."""


class EngineRefused(EngineError):
    """The engine answered with an error; `status` is the HTTP status (404: no such thing)."""

    def __init__(self, what: str, why: str = "", remedy: str = "", status: int = 0) -> None:
        super().__init__(what, why, remedy)
        self.status = status


class ImageError(DockerKernelError):
    """The image can't be used."""


class ImageNotFound(ImageError):
    """The image isn't on this machine and can't be pulled."""


class LoginUnreadable(ImageError):
    """What Docker has stored for a private registry can't be read."""


class ImageNotBuilt(ImageError):
    """The image can't be built."""


class ImageHasNoPython(ImageError):
    """No Python in the image."""


class ImagePythonTooOld(ImageError):
    """The image's Python is older than the server needs."""


class StartError(DockerKernelError):
    """The server didn't start."""


class StartTimeout(StartError, TimeoutError):
    """The start took too long; the text names the slow step."""


class StartCancelled(StartError):
    """The start was called off by a stop."""

    def __init__(
        self,
        what: str = "the start was called off",
        why: str = "it was stopped meanwhile",
        remedy: str = "run it again: that begins a new start",
    ) -> None:
        super().__init__(what, why, remedy)


class ServerError(DockerKernelError):
    """The server can't be used."""


class ServerNotThere(ServerError, ConnectionError):
    """Nothing listens at the address."""


class NotAServer(ServerError):
    """Something else listens at the address."""


class OlderServer(NotAServer):
    """A server from before protocol 1, which knows shell commands alone."""


class AuthenticationFailed(ServerError):
    """The two sides don't have the same secret."""


class ServerNotTrusted(ServerError):
    """The server's certificate isn't one that was to be trusted."""


class VersionMismatch(ServerError):
    """The two sides speak different versions of the protocol."""


class ConnectionLost(ServerError, ConnectionError):
    """The server was there and is gone."""


class RequestRefused(ServerError):
    """The server answered a request with an error."""


class UsageError(DockerKernelError):
    """A line of %docker asks for what can't be done."""


class TransferError(DockerKernelError, ValueError):
    """A file or a variable can't be moved, or arrived damaged."""


class CodeRefused(DockerKernelError):
    """Code that the settings don't let through; nothing of it was sent.

    `line` counts from 1, `excerpt` is that line and the carets below it.
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        remedy: str = "",
        line: int = 1,
        excerpt: tuple[str, str] = ("", ""),
    ) -> None:
        super().__init__(what, why, remedy)
        self.line = line
        self.excerpt = excerpt

    def __str__(self) -> str:
        mark = f"----> {self.line} "
        text, carets = self.excerpt
        return "\n".join(
            [
                "Nothing of this was sent:",
                f"{mark}{text}",
                f"{' ' * len(mark)}{carets}",
                super().__str__(),
            ]
        )

    def moved(self, lines: int) -> CodeRefused:
        """The same for a text with so many lines before it."""
        return CodeRefused(self.what, self.why, self.remedy, self.line + lines, self.excerpt)


class AuditLogError(DockerKernelError):
    """The audit log that was asked for can't be written."""
