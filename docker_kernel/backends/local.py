"""A server on this machine, without a container: for where there is no engine, by explicit
choice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import psutil  # type: ignore[import-untyped,unused-ignore]

from docker_kernel_server.handshake import make_secret

from .. import runtime
from ..config import Settings
from ..deadline import Deadline
from ..endpoint import Endpoint
from ..errors import SettingError, StartError
from . import Progress
from .logtail import MAX_LINES, LogTail
from .stoppable import Stoppable

GRACE_SECONDS = 1.0
_PASSED_ON = frozenset(
    [
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
    ]
)
_WARNING = (
    "THERE IS NO CONTAINER: in local mode, code runs on this machine as you, and can read, change "
    "and delete all that you can. Use DOCKER_KERNEL_MODE=docker for code that you don't trust."
)


class LocalBackend(Stoppable):
    """Starts the server as a process of its own; see `Backend`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.notices: list[str] = [_WARNING]
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._tail: LogTail | None = None

    def describe(self) -> str:
        """One line for the banner."""
        folder = self._settings.workspace
        with suppress(SettingError):  # the start tells it
            folder = str(self._settings.workspace_folder())
        return f"on this machine, WITHOUT a container, in {folder}"

    def postmortem(self) -> str:
        """How the server ended and its last lines, "" while it runs."""
        process, tail = self._process, self._tail
        if process is None or tail is None or process.poll() is None:
            return ""
        tail.wait_ended(GRACE_SECONDS)
        return tail.explain(_how_ended(process.returncode))

    def trouble(self) -> str:
        """Nothing is known."""
        return ""

    def log(self) -> str:
        """The last lines that the server has printed."""
        return self._tail.last(MAX_LINES) if self._tail is not None else ""

    def handover(self) -> dict[str, str] | None:
        """None: its output goes to this process, and a start takes a moment only."""
        return None

    def _start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        progress("starting a server on this machine, without a container")
        if sys.platform == "win32":
            raise StartError(
                "local mode doesn't work on Windows",
                "the server forks its sessions, which Windows can't",
                "use a container (DOCKER_KERNEL_MODE=docker), or work in WSL",
            )
        folder = self._settings.workspace_folder()
        secret = make_secret()
        with deadline.step("starting the server"):
            process = self._process = _spawn(
                _command(folder, self._settings.lease), self._environment()
            )
            tail = self._tail = LogTail(_chunks(cast("IO[bytes]", process.stdout)))
            # A server that has died already shows below, with its last lines.
            with suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as stdin:
                stdin.write(secret + b"\n")
        self._check_stopping()
        with deadline.step("waiting for the server"):
            address = tail.wait_listening(deadline)
        self._check_stopping()
        if address is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
            raise StartError(
                "the server ended before it listened",
                self.postmortem(),
                "try it by hand: python -m docker_kernel_server --workplace . --port 8000",
            )
        return Endpoint("127.0.0.1", address[1], secret)

    def _hurry(self) -> None:
        if (process := self._process) is not None:
            process.kill()

    def _environment(self) -> dict[str, str]:
        return {**allowed_environment(os.environ), **self._settings.env}

    def _end(self) -> None:
        process, self._process = self._process, None
        if sys.platform == "win32" or process is None:
            return
        family = _family(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        # Sessions have process groups of their own; one that ignores the request is among the
        # family.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for member in family:
            with suppress(psutil.Error):
                member.kill()
        process.wait()


def allowed_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of `environ` the code may see: no tokens, no keys, nothing of Jupyter's."""
    return {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or name.startswith("LC_")
    }


def _command(folder: Path, lease: float) -> list[str]:
    return [
        *(sys.executable, "-I", "-S", *_program()),
        *("--workplace", str(folder)),
        *("--host", "127.0.0.1", "--port", "0"),
        "--secret-from-stdin",
        *("--lease", f"{lease:g}"),
        *("--python", sys.executable),
    ]


def _program() -> list[str]:
    """How to run the server. Its package may stand in site-packages, which -S leaves out."""
    folder = str(runtime.server_package().parent)
    # Last: what else is in there must not hide the standard library.
    code = (
        f"import sys; sys.path.append({folder!r}); "
        "from docker_kernel_server.__main__ import main; sys.exit(main())"
    )
    return ["-c", code]


def _spawn(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            # Ctrl-C in the terminal of the notebook server is no business of the code's.
            start_new_session=True,
        )
    except OSError as exc:
        raise StartError(
            "the server could not be started",
            exc.strerror or str(exc),
            f"see that the machine has room for another process, and that {sys.executable} runs",
        ) from exc


def _chunks(pipe: IO[bytes]) -> Iterator[bytes]:
    with pipe:
        while data := pipe.read(65536):
            yield data


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.Error:
        return []


def _how_ended(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"the server was ended by {signal.Signals(-code).name}"
    return f"the server ended with status {code}"
