"""The magics themselves: what each line and cell asks for."""

from __future__ import annotations

import contextlib
import shlex
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from docker_kernel import variables
from docker_kernel.errors import CodeRefused, DockerKernelError
from docker_kernel.manage.looking import ask_status
from docker_kernel_server import messages as wire

from .background import Background
from .manage import Manager
from .options import cell_arguments, manage_arguments, parse, split
from .remote import Outcome, RemoteSession, Surroundings
from .sandboxes import MAIN, Place, Sandboxes


class CommandFailed(DockerKernelError):
    """A shell command ended with another status than 0."""


@magics_class
class DockerMagics(Magics):
    """%%docker, %docker and %pip_docker."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, sandboxes: Sandboxes) -> None:
        super().__init__(shell)
        self._sandboxes = sandboxes
        self._manager = Manager(sandboxes)

    @cell_magic("docker")
    @cell_arguments
    def docker_cell(self, line: str, cell: str) -> Any:
        """Run this cell in a Docker container.

        The first cell starts the container. Variables stay from cell to cell; the notebook's folder
        is /workspace there. %docker manages it, %pip_docker installs packages in it.
        """
        options = parse(self.docker_cell, line)
        with _plain_errors():
            place = self._sandboxes.place(options.image)
            place.client()
            try:
                if options.shell:
                    return self._run_command(place, options, cell)
                return self._run_cell(place.session(options.session), options, cell)
            except CodeRefused as exc:
                raise exc.moved(1) from exc  # %%docker is the cell's first line

    @line_magic("docker")
    @manage_arguments
    def docker_line(self, line: str) -> Any:
        """Manage the containers of %%docker cells.

        %docker               what runs, and how it is
        %docker sessions      the sessions in it
        %docker limits        what the container may use, and uses
        %docker restart       drop the variables; files and packages stay
        %docker reset         a fresh container
        %docker stop          remove the container
        %docker logs          what the server has logged
        %docker commit TAG    keep what was installed: an image of it
        %docker freeze        write that down: Dockerfile, requirements.txt
        %docker connect H:P   use a server that runs already
        %docker connect NAME  use a container that runs already
        %docker put A [B]     copy a file into the container
        %docker get A [B]     copy a file out of it
        """
        options = parse(self.docker_line, line)
        with _plain_errors():
            return self._manager.run(options)

    @line_magic
    def pip_docker(self, line: str) -> None:
        """Run pip in the container of %%docker cells.

        %pip_docker install pandas
        %pip_docker list
        %pip_docker uninstall pandas
        """
        words = split(line)
        if not words:
            raise UsageError("say what pip is to do: %pip_docker install PACKAGE")
        if words[0] == "uninstall" and not {"-y", "--yes"} & set(words):
            words.append("--yes")  # it would ask, and nobody could answer
        with _plain_errors():
            place = self._sandboxes.place()
            python = ask_status(place.client())["executable"]
            command = shlex.join([python, "-m", "pip", "--disable-pip-version-check", *words])
            outcome = place.session(MAIN).ask(self._run_request(place, command, Surroundings()))
            _check_command(outcome, f"pip {words[0]}")

    # -- cells

    def _run_cell(self, session: RemoteSession, options: Namespace, code: str) -> Any:
        around = _surroundings(options)
        if options.push:
            missing = [name for name in options.push if name not in self.shell.user_ns]
            if missing:
                raise UsageError(f"--push: {', '.join(missing)} is not defined here")
            values = {name: self.shell.user_ns[name] for name in options.push}
            variables.push(session.session.client(), session.session.name, values)
        if options.background:
            if options.pull:
                raise UsageError("--pull needs the cell's end; leave out --background")
            request = session.execute_request(code, around, allow_stdin=False)
            return self._keep(Background(session.session.client(), request, "a cell"), options)
        outcome = session.execute(code, around)
        self._assign(options, outcome)
        if outcome.error is not None:
            raise outcome.error
        if options.pull:
            found = variables.pull(session.session.client(), session.session.name, options.pull)
            self.shell.push(found)
        return outcome.value

    def _run_command(self, place: Place, options: Namespace, command: str) -> Any:
        if options.push or options.pull:
            raise UsageError("--push and --pull move variables of Python; leave out --shell")
        place.sandbox.gate.check_command(command)
        request = self._run_request(place, command, _surroundings(options))
        if options.background:
            return self._keep(Background(place.client(), request, "a command"), options)
        outcome = place.session(options.session).ask(request, _surroundings(options).capture)
        self._assign(options, outcome)
        _check_command(outcome, "the command")
        return None

    def _run_request(self, place: Place, command: str, around: Surroundings) -> wire.Run:
        return wire.Run(
            place.client().new_id(),
            command,
            cwd=around.cwd,
            env=dict(around.env),
            timeout=around.timeout,
        )

    def _assign(self, options: Namespace, outcome: Outcome) -> None:
        for name, stream in ((options.out, "stdout"), (options.err, "stderr")):
            if name:
                self.shell.user_ns[name] = outcome.captured[stream]

    def _keep(self, background: Background, options: Namespace) -> Background | None:
        if not options.out:
            return background
        self.shell.user_ns[options.out] = background
        return None


def _surroundings(options: Namespace) -> Surroundings:
    streams = {"stdout": options.out, "stderr": options.err}
    return Surroundings(
        timeout=options.timeout,
        cwd=options.cwd,
        env=dict(options.env),
        capture=frozenset(stream for stream, name in streams.items() if name),
    )


_ENDINGS = {
    "timeout": "it took longer than its --timeout, and was ended",
    "interrupt": "it was interrupted",
}


def _check_command(outcome: Outcome, what: str) -> None:
    final = outcome.final
    if final.status == 0:
        return
    if final.reason == "refused":
        raise CommandFailed(f"{what} was not run", str(final.result), "correct it")
    number = (final.result or {}).get("signal")
    why = f"signal {number} ended it" if number else f"it exited with status {final.status}"
    raise CommandFailed(f"{what} failed", _ENDINGS.get(final.reason, why))


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Let an error of ours be shown as its text, without the frames that it came through."""
    try:
        yield
    except DockerKernelError as exc:
        text = f"{type(exc).__name__}: {exc}"
        exc._render_traceback_ = lambda: text.splitlines()  # type: ignore[attr-defined]
        raise
