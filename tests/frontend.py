"""A frontend that keeps all that a kernel sends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient

PATIENCE = 60.0
"""Seconds for what should take much less: a hang must end."""

FENCE = "fence"
"""The name of the requests whose answers mark the end of an exchange."""

Message = dict[str, Any]
Wanted = Callable[[str, Message], bool]


@dataclass(frozen=True)
class Sent:
    """A request of ours; its name stands for its id, which no two kernels share."""

    name: str
    channel: str
    header: Message


@dataclass
class Exchange:
    """Some requests by id, and all that came meanwhile: (channel, message) in order."""

    sent: dict[str, Sent] = field(default_factory=dict)
    came: list[tuple[str, Message]] = field(default_factory=list)

    def on(self, channel: str) -> list[Message]:
        """What came on a channel."""
        return [message for where, message in self.came if where == channel]

    def asked_by(self, message: Message) -> Sent | None:
        """The request of ours that a message belongs to."""
        return self.sent.get(message["parent_header"].get("msg_id", ""))


class Frontend:
    """Drives one kernel through the open channels of ``client``; ``folder`` is its own."""

    def __init__(self, client: BlockingKernelClient, folder: Path) -> None:
        self.folder = folder
        self.exchange = Exchange()
        self._answers = 0
        self._session = client.session
        self._sockets: dict[str, zmq.Socket[bytes]] = {
            "shell": client.shell_channel.socket,
            "control": client.control_channel.socket,
            "stdin": client.stdin_channel.socket,
            "iopub": client.iopub_channel.socket,
        }

    def begin(self) -> None:
        """Start a new exchange."""
        self.exchange = Exchange()
        self._answers = 0

    def send(
        self,
        kind: str,
        content: Message,
        channel: str = "shell",
        *,
        name: str = "",
        metadata: Message | None = None,
        buffers: list[bytes] | None = None,
    ) -> None:
        """Send a request."""
        message = self._session.msg(kind, content, metadata=metadata)
        header = message["header"]
        named = [sent for sent in self.exchange.sent.values() if sent.name != FENCE]
        name = name or f"request {len(named) + 1}"
        self.exchange.sent[header["msg_id"]] = Sent(name, channel, header)
        self._session.send(self._sockets[channel], message, buffers=buffers)

    def answer(self, value: str) -> None:
        """Wait for the next question, and answer it."""
        self._answers += 1
        self.wait(lambda *_: len(self.exchange.on("stdin")) >= self._answers)
        self._session.send(self._sockets["stdin"], "input_reply", {"value": value})

    def wait(self, wanted: Wanted) -> None:
        """Take messages until one is ``wanted``, which may have come already."""
        if any(wanted(*item) for item in self.exchange.came):
            return
        end = time.monotonic() + PATIENCE
        while not any(wanted(*item) for item in self._take()):
            if time.monotonic() > end:
                came = [
                    f"{where} {m['msg_type']} {m['content']}" for where, m in self.exchange.came
                ]
                raise AssertionError("\n".join(["it never came; this did:", *came]))

    def done(self) -> None:
        """Wait until the kernel has been idle after each of our requests."""
        waiting = set(self.exchange.sent)

        def last_idle(channel: str, message: Message) -> bool:
            if channel == "iopub" and message["content"].get("execution_state") == "idle":
                waiting.discard(message["parent_header"].get("msg_id"))
            return not waiting

        if waiting:
            self.wait(last_idle)

    def fence(self, *channels: str) -> None:
        """Wait for an answer on these channels: what came before it on each is all that came."""
        before = set(self.exchange.sent)
        for channel in channels:
            self.send("kernel_info_request", {}, channel, name=FENCE)
        waiting = set(self.exchange.sent) - before

        def last_reply(channel: str, message: Message) -> bool:
            if channel != "iopub":
                waiting.discard(message["parent_header"].get("msg_id"))
            return not waiting

        self.wait(last_reply)

    def finish(self) -> Exchange:
        """Wait until everything has come, and return it."""
        self.done()
        self.fence("shell", "control")
        self.done()
        return self.exchange

    def _take(self) -> list[tuple[str, Message]]:
        """Add to the exchange what has come by now, and return it."""
        poller = zmq.Poller()
        for socket in self._sockets.values():
            poller.register(socket, zmq.POLLIN)
        poller.poll(1000)
        new = []
        for channel, socket in self._sockets.items():
            while socket.poll(0):
                _, message = self._session.recv(socket)
                assert message is not None
                new.append((channel, message))
        self.exchange.came += new
        return new
