"""A session in a container, as a shell on the host uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from IPython.core import page
from IPython.core.interactiveshell import InteractiveShell

from docker_kernel import outputs
from docker_kernel.replies import payloads
from docker_kernel.session import Session
from docker_kernel_server import messages as wire

from .asking import Asking
from .bridge import Bridge
from .show import RemoteError, Value, can_ask, parent_header, remote_error, say, show, shown


@dataclass(frozen=True)
class Surroundings:
    """What a cell runs in, beside its session; ``timeout`` in seconds."""

    timeout: float | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    capture: frozenset[str] = frozenset()
    """The streams that are kept and not shown: "stdout", "stderr"."""


@dataclass
class Outcome:
    """What came of a cell or a command: what was captured, its value, its error, its end."""

    final: wire.Final
    captured: dict[str, str]
    value: Value | None = None
    error: RemoteError | None = None


class RemoteSession:
    """Runs cells in a session, and shows what they make in ``shell``."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        self.session = session
        self._shell = shell
        self._bridge = Bridge(self._forward)

    def execute(self, code: str, around: Surroundings) -> Outcome:
        """Run a cell to its end. What failed in it is in the outcome.

        Raises a DockerKernelError where it could not be run.
        """
        request = self.execute_request(code, around, can_ask(self._shell))
        outcome = self.ask(request, around.capture)
        final = outcome.final
        if lost := outputs.error_of_final(final):
            outcome.error = remote_error(**lost.content)
        self._pay(final)
        return outcome

    def execute_request(self, code: str, around: Surroundings, allow_stdin: bool) -> wire.Execute:
        """The request that runs a cell; opens the session where it isn't open."""
        client = self.session.client()
        for note in self.session.take_notes():
            say(note)
        return wire.Execute(
            client.new_id(),
            self.session.name,
            code,
            allow_stdin=allow_stdin,
            timeout=around.timeout,
            cwd=around.cwd,
            env=dict(around.env),
            parent=parent_header(self._shell),
        )

    def restart(self) -> None:
        """A fresh session under the same name."""
        self._bridge.close()
        self.session.restart()

    def ask(
        self, request: wire.SessionRequest | wire.Run, capture: frozenset[str] = frozenset()
    ) -> Outcome:
        """Send a request, show its events, and wait for its end."""
        texts: dict[str, list[str]] = {name: [] for name in capture}
        shown: list[Value] = []
        errors: list[RemoteError] = []

        def take(event: wire.Event) -> None:
            if isinstance(event, wire.Chunk) and event.stream in texts:
                texts[event.stream].append(event.data)
            elif isinstance(event, wire.Result):
                shown.append(Value(event.data, event.metadata))
            elif isinstance(event, wire.Error):
                errors.append(remote_error(event.ename, event.evalue, event.traceback))
            else:
                self.take(event)

        final = Asking(self.session.sandbox.client(), request, take).wait()
        captured = {name: "".join(parts) for name, parts in texts.items()}
        failed = errors.pop() if errors and final.status else None
        for error in errors:  # shown by the code itself, which went on
            say("\n".join(error.traceback))
        return Outcome(final, captured, shown[-1] if shown else None, failed)

    def take(self, event: wire.Event) -> None:
        """Handle an event that needs no cell."""
        if isinstance(event, wire.SessionDied):
            self.session.forget(f"Before this cell {event.detail}. Variables were reset.")
            self._bridge.close()
        elif not self._bridge.take(event):
            show(event, self._shell)

    def close(self) -> None:
        """The session has ended."""
        self._bridge.close()

    def _forward(self, kind: type[wire.CommRequest], keys: dict[str, Any]) -> None:
        """A frontend's message to a widget; a callback's output comes while this waits."""
        client = self.session.ready
        if client is None:  # the session of these widgets is gone
            return
        parent = parent_header(self._shell)
        self.ask(kind(client.new_id(), self.session.name, parent=parent, **keys))

    def _pay(self, final: wire.Final) -> None:
        """Do what the cell asks of its frontend: show a text in the pager, set the next input."""
        for payload in payloads(final.result):
            if payload["source"] == "page":
                page.page(shown(payload["data"]), payload["start"])
            elif payload["source"] == "set_next_input":
                # It is the container that it was meant for, and not this machine.
                text = f"%%docker\n{payload['text']}"
                self._shell.set_next_input(text, bool(payload.get("replace")))
