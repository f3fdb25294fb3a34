"""A true kernel process, driven as a frontend drives it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_core.utils import ensure_event_loop

from docker_kernel.cli.live import OneKernel
from ports import choose_ports

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 60.0
"""Seconds for what should take much less: a loaded machine is slow, and a hang must end."""

Message = dict[str, Any]


@dataclass
class Cell:
    """What came of a cell."""

    reply: Message
    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> str:
        """ok, error or aborted."""
        return str(self.reply["content"]["status"])

    @property
    def error(self) -> str:
        """The error as a frontend shows it, "" for none."""
        found = [m["content"] for m in self.messages if m["msg_type"] == "error"]
        return "\n".join(found[0]["traceback"]) if found else ""

    def __str__(self) -> str:
        return "\n".join(f"{m['msg_type']} {m['content']}" for m in [*self.messages, self.reply])

    def text(self, name: str = "stdout") -> str:
        """All text of a stream."""
        streams = [m["content"] for m in self.messages if m["msg_type"] == "stream"]
        return "".join(part["text"] for part in streams if part["name"] == name)

    @property
    def result(self) -> str | None:
        """The plain text of the last expression's value."""
        for message in self.messages:
            if message["msg_type"] == "execute_result":
                return str(message["content"]["data"]["text/plain"])
        return None

    def kinds(self) -> list[str]:
        """The types of the messages, in order."""
        return [message["msg_type"] for message in self.messages]


class OrdinaryKernels(KernelSpecManager):
    """Whatever kernel is asked for, it is ipykernel's."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernelspec, made up on the spot."""
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
        )


class Kernel:
    """A kernel from `__enter__` to `__exit__`, with settings as arguments and in ``folder``."""

    running = 0
    output: int | None = None
    """Where the process's own stdout and stderr go; None: where ours go."""

    def __init__(self, *arguments: str, folder: Path, env: dict[str, str] | None = None) -> None:
        specs = self.make_specs(*arguments)
        # Named after the folder: sessions have its name, and tests may share a server.
        connection_file = folder / "connection" / f"kernel-{folder.name}.json"
        connection_file.parent.mkdir(exist_ok=True)
        self.manager = KernelManager(
            kernel_name="docker",
            kernel_spec_manager=specs,
            connection_file=str(connection_file),
        )
        choose_ports(self.manager)
        self.folder = folder
        self.note = connection_file.with_suffix(".docker-kernel")
        self._env = {**os.environ, "IPYTHONDIR": str(folder / "connection"), **(env or {})}
        self.client: BlockingKernelClient

    def make_specs(self, *arguments: str) -> KernelSpecManager:
        """Knows the kernel that is started."""
        specs = OneKernel()
        specs.arguments = ("--log-level=ERROR", *arguments)
        return specs

    def launch(self) -> None:
        """Start the process, and wait for nothing; `__enter__` does the rest."""
        Kernel.running += 1
        self.manager.start_kernel(
            cwd=str(self.folder), env=self._env, stdout=self.output, stderr=self.output
        )

    def __enter__(self) -> Self:
        if not self.manager.has_kernel:
            self.launch()
        try:
            self.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def connect(self) -> None:
        """A new client, that waits until the kernel answers."""
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def __exit__(self, *exc: object) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel()
        Kernel.running -= 1
        if not Kernel.running:
            # The blocking client makes a loop for this thread, and nobody closes it.
            ensure_event_loop().close()

    @property
    def pid(self) -> int:
        """The kernel's process."""
        provisioner = self.manager.provisioner
        assert isinstance(provisioner, LocalProvisioner)
        assert provisioner.pid is not None
        return provisioner.pid

    def has_ended(self) -> bool:
        """Whether the kernel's process has ended, also where nobody has waited for it yet."""
        provisioner = self.manager.provisioner
        assert isinstance(provisioner, LocalProvisioner)
        return provisioner.process is None or provisioner.process.poll() is not None

    def run(
        self,
        code: str,
        *,
        answer: Callable[[str], str | None] | None = None,
        during: Callable[[Message], None] | None = None,
        **keys: Any,
    ) -> Cell:
        """Run a cell to its end. ``answer`` answers input(), or doesn't where it returns None;
        ``during`` sees each message.
        """
        messages: list[Message] = []

        def keep(message: Message) -> None:
            messages.append(message)
            if during is not None:
                during(message)

        def reply_to_input(message: Message) -> None:
            assert answer is not None
            text = answer(message["content"]["prompt"])
            if text is not None:
                self.client.input(text)

        reply = self.client.execute_interactive(
            code,
            timeout=PATIENCE,
            output_hook=keep,
            allow_stdin=answer is not None,
            stdin_hook=reply_to_input,
            **keys,
        )
        return Cell(reply, messages)

    def ask(self, what: str, *arguments: Any, **keys: Any) -> Message:
        """Send another request, complete or is_complete for instance; its reply's content."""
        message_id = getattr(self.client, what)(*arguments, **keys)
        end = time.monotonic() + PATIENCE
        while True:
            reply = self.client.get_shell_msg(timeout=max(0.1, end - time.monotonic()))
            if reply["parent_header"].get("msg_id") == message_id:
                content: Message = reply["content"]
                return content

    def next_output(self, wanted: Callable[[Message], bool]) -> Message:
        """Wait for a message on iopub that is wanted; the others are thrown away."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                message: Message = self.client.get_iopub_msg(
                    timeout=max(0.1, end - time.monotonic())
                )
            except Empty:
                raise AssertionError("the message never came") from None
            if wanted(message):
                return message


class OrdinaryKernel(Kernel):
    """An ipykernel, for the magics."""

    def make_specs(self, *arguments: str) -> KernelSpecManager:
        """Knows ipykernel alone."""
        return OrdinaryKernels()
