"""A script, or code, in a container of its own: its output as it comes, and its exit code."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shlex
import signal
import stat
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker_kernel_server.framing import MAX_LINE_BYTES

from .. import inside, tools
from ..commands import NO_CODE, Command
from ..config import Settings
from ..contact import ContainerClient, NotConnected
from ..errors import DockerKernelError, SettingError, StartError
from ..reader import SettingsReader
from ..texts import for_terminal
from ..toolbox import echo, read_script
from .options import setting_words

OWN_FAILURE = 125
"""The exit code where it is not the program that failed, as `docker run` has it."""

_LOGGER = "docker_kernel.tools"


@dataclass(frozen=True)
class Program:
    """Python code: its name in tracebacks, its text, and its sys.argv; the file where it is one."""

    name: str
    text: str
    argv: tuple[str, ...]
    file: Path | None = None


def script(path: Path, arguments: Sequence[str]) -> Program:
    """A script of this machine. Raises SettingError where it can't be read."""
    try:
        file = path.resolve(strict=True)
        # As Python decodes it: what is verified must be what runs.
        with tokenize.open(file) as source:
            text = source.read()
    except (OSError, RuntimeError) as exc:
        why = getattr(exc, "strerror", None) or str(exc)
        raise SettingError(
            f"the script {path} can't be read", why, "name a Python file, or a notebook (.ipynb)"
        ) from exc
    except (SyntaxError, UnicodeDecodeError) as exc:
        raise SettingError(
            f"the script {path} is not text that Python can read",
            str(exc),
            "save it as UTF-8, or name its encoding in its first line",
        ) from exc
    return Program(file.name, text, (str(path), *arguments), file)


def code_on_stdin() -> str:
    """The code that this process gets on its standard input. Raises SettingError."""
    try:
        return _rest_of_stdin().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SettingError(
            "the code on standard input is not UTF-8", str(exc), "convert it"
        ) from exc


def settings_for(program: Program, options: argparse.Namespace) -> Settings:
    """The settings in force; a script's folder is the workspace where none is named."""
    reader = SettingsReader()
    settings = Settings.load(reader.read(setting_words(options)), reader.cli_config)
    if program.file is not None and not settings.workspace:
        settings.workspace = str(program.file.parent)
    for note in settings.notices:
        print(f"docker-kernel: {note}", file=sys.stderr)
    return settings


def run(program: Program, settings: Settings, timeout: float | None) -> int:
    """Run it and pass on what it prints. Returns its exit code. Raises DockerKernelError."""
    given = "" if program.name == "<stdin>" else _piped()
    with _told(), _container(settings) as client:
        client.check_python(lambda: program.text)
        try:
            done = client.run(_command(program, client, given, timeout), _show)
        except NotConnected as exc:
            if isinstance(exc.__cause__, DockerKernelError):
                raise exc.__cause__ from None
            raise StartError(
                "the server doesn't answer", str(exc.__cause__), "docker-kernel doctor"
            ) from exc
    if done.error:
        sys.stdout.flush()
        print(f"docker-kernel: {done.error}", file=sys.stderr)
    return OWN_FAILURE if done.exit_code == NO_CODE else done.exit_code


def _command(
    program: Program, client: ContainerClient, given: str, timeout: float | None
) -> Command:
    """The command for it: its file where the container sees that, else its text."""
    python, folder = client.place()
    if program.file is None:
        name, argv = program.name, program.argv
    else:
        place = _place(program.file, client.settings)
        name, argv = f"{folder}/{place}", (place, *program.argv[1:])
        if read_script(place, None) == program.text:
            # A name may begin with a dash.
            words = [f"./{place}" if place.startswith("-") else place, *argv[1:]]
            return Command(f"exec {python} -u {shlex.join(words)}", timeout=timeout, stdin=given)
    try:
        size = len(program.text.encode())
    except UnicodeEncodeError as exc:
        raise SettingError("the code is no text", str(exc), "write it in UTF-8") from exc
    words = [inside.RUN_TEXT, name, str(size), *argv]
    text = f"exec {python} -u -c {shlex.join(words)}"
    return Command(text, timeout=timeout, stdin=program.text + given)


def _place(file: Path, settings: Settings) -> str:
    """A file as it is seen from the workspace; its mere name where it is elsewhere."""
    with contextlib.suppress(SettingError, ValueError):
        return file.relative_to(settings.workspace_folder()).as_posix()
    return file.name


def _piped() -> str:
    """What a pipe or a file gives this process to read; "" where there is none."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or something else's
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return ""
    return _rest_of_stdin().decode("utf-8", "surrogateescape")


def _rest_of_stdin() -> bytes:
    data = sys.stdin.buffer.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise SettingError(
            "the standard input is too long",
            f"{MAX_LINE_BYTES} bytes can be passed on",
            "put it into a file of the workspace, which the program can open",
        )
    return data


def _show(stream: str, text: str) -> None:
    out = sys.stderr if stream == "stderr" else sys.stdout
    echo(stream, for_terminal(text) if out.isatty() else text)


@contextlib.contextmanager
def _container(settings: Settings) -> Iterator[ContainerClient]:
    """A client for the tools, with a container that doesn't outlive this. SIGTERM is as Ctrl-C."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    client = ContainerClient(settings)
    tools.set_docker_client(client)
    try:
        yield client
    finally:
        # This takes 3 s at most, and must not be cut short.
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        tools.set_docker_client(None)
        client.close()
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Show on stderr what the client has to say; on a terminal also how a slow start goes on."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("docker-kernel: %(message)s"))
    logger = logging.getLogger(_LOGGER)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
