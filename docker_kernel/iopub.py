"""Messages to the iopub channel, from any thread, in order and in bounded memory.

Two bounds matter. ZeroMQ drops what a subscriber can't take in time, and Jupyter's server drops
what comes faster than a thousand messages a second: so pieces of text that follow closely are
joined. Programs that run a notebook keep each message as an output of its own, so what a quick cell
prints is one message. And ipykernel's queue to its iopub thread has no bound: so now and then we
wait for it.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from ipykernel.iostream import IOPubThread
from jupyter_client.session import Session

from docker_kernel_server.framing import dump_utf8

from .outputs import Output, sendable, stream

JOIN_SECONDS = 0.02
"""Text is held back as long, and joined with what comes meanwhile."""

MAX_JOINED_CHARS = 128 * 1024
"""Joined text isn't held back past this length."""

MAX_AHEAD_CHARS = 8 * 1024
"""A text that is held back is packed already, up to this length; in vain where more joins it."""

MAX_UNSENT_MESSAGES = 100
MAX_UNSENT_CHARS = 4 * 1024 * 1024
"""What may wait for the iopub thread; at either bound the caller waits too."""

NUMBER_CHARS = 8
"""What anything but a text counts for."""

DRAIN_SECONDS = 10.0
"""How long a caller waits at most; a thread that takes longer has ended."""

Parent = dict[str, Any]


class _Parcel:
    """Takes a message in a socket's place: packed, so that it needs only be sent."""

    def __init__(self, weight: int) -> None:
        self.weight = weight
        self.frames: list[Any] = []
        self.copy = True

    def send_multipart(self, frames: list[Any], copy: bool) -> None:
        """Called by a session that sends to it."""
        self.frames, self.copy = frames, copy


class IOPub:
    """Publishes outputs. Ends with `close`."""

    def __init__(self, session: Session, thread: IOPubThread, ident: str) -> None:
        self._session = session
        self._thread = thread
        self._ident = ident
        self._changed = threading.Condition(threading.RLock())
        self._held: list[str] = []
        self._held_chars = 0
        self._held_for: tuple[Parent, str] = ({}, "")
        self._held_since = 0.0
        self._parcel: _Parcel | None = None
        """What is held, where that is one short text."""
        self._asleep = False
        """Whether the timer's thread has to be woken for a text."""
        self._unsent = 0
        self._unsent_chars = 0
        self._announced: list[tuple[Output, Parent]] = []
        self._closed = False
        self._timer = threading.Thread(
            target=self._send_late, name="docker-kernel iopub", daemon=True
        )
        self._timer.start()

    def announce(self, output: Output, parent: Parent) -> None:
        """Send a message at the latest before the next one, or with `send_announced`."""
        with self._changed:
            self._announced.append((output, parent))

    def send_announced(self) -> None:
        """Send what was announced."""
        with self._changed:
            while self._announced:  # one that can't be sent fails once, and not all that follow
                self._send(*self._announced.pop(0))

    def publish(self, output: Output, parent: Parent) -> None:
        """Send a message that belongs to the request ``parent``. Waits where too much is unsent.

        After `close` it does nothing.
        """
        with self._changed:
            if self._closed:
                return
            self.send_announced()
            if output.msg_type == "stream":
                self._publish_text(output, parent)
            else:
                self._send_held()
                self._send(output, parent)

    def flush(self) -> None:
        """Send what is held back."""
        with self._changed:
            self._send_held()

    def settle(self) -> None:
        """Send what is held back, and return when ZeroMQ has all that was sent.

        Whoever publishes meanwhile waits, too.
        """
        with self._changed:
            self._send_held()
            if self._unsent:
                self._drain()

    def _drain(self) -> None:
        sent = threading.Event()
        self._thread.schedule(sent.set)  # type: ignore[no-untyped-call]
        sent.wait(DRAIN_SECONDS)
        self._unsent = self._unsent_chars = 0

    def close(self) -> None:
        """Send what is held back, and end the thread."""
        with self._changed:
            self.send_announced()
            self._send_held()
            self._closed = True
            self._changed.notify()
        self._timer.join(DRAIN_SECONDS)

    def _publish_text(self, output: Output, parent: Parent) -> None:
        name, text = output.content["name"], output.content["text"]
        held_parent, held_name = self._held_for
        if self._held and (held_parent is not parent or held_name != name):
            self._send_held()
        if not self._held:
            self._held_for = (parent, name)
            self._held_since = time.monotonic()
            if self._asleep:
                self._changed.notify()
            # Most cells print once and little, and a moment passes until they have ended.
            self._parcel = self._pack(output, parent) if len(text) <= MAX_AHEAD_CHARS else None
        else:
            self._parcel = None
        self._held.append(text)
        self._held_chars += len(text)
        if self._held_chars >= MAX_JOINED_CHARS:
            self._send_held()

    def _send_held(self) -> None:
        if self._held:
            parent, name = self._held_for
            # A text by itself may know how it was quoted.
            text = self._held[0] if len(self._held) == 1 else "".join(self._held)
            parcel, self._parcel = self._parcel, None
            self._held.clear()
            self._held_chars = 0
            self._send_parcel(parcel or self._pack(stream(name, text), parent))

    def _send(self, output: Output, parent: Parent) -> None:
        self._send_parcel(self._pack(output, parent))

    def _send_parcel(self, parcel: _Parcel) -> None:
        self._thread.send_multipart(  # type: ignore[no-untyped-call]
            parcel.frames, copy=parcel.copy
        )
        self._unsent += 1
        self._unsent_chars += parcel.weight
        if self._unsent >= MAX_UNSENT_MESSAGES or self._unsent_chars >= MAX_UNSENT_CHARS:
            self._drain()

    def _pack(self, output: Output, parent: Parent) -> _Parcel:
        parcel = _Parcel(_weight(output))
        try:
            self._serialize(output, output.content, parent, parcel)
        except UnicodeEncodeError:  # a lone surrogate
            self._serialize(output, sendable(output.content), parent, parcel)
        return parcel

    def _serialize(
        self, output: Output, content: dict[str, Any], parent: Parent, parcel: _Parcel
    ) -> None:
        # A session packs what isn't packed yet, and takes longer for a long text.
        packed: Any = dump_utf8(content) if self._session.none == b"{}" else content
        self._session.send(
            parcel,  # type: ignore[arg-type]
            output.msg_type,
            packed,
            parent=parent,
            ident=f"kernel.{self._ident}.{output.msg_type}".encode(),
            buffers=list(output.buffers) or None,
            metadata=output.metadata,
        )

    def _send_late(self) -> None:
        with self._changed:
            seen = 0.0
            while not self._closed:
                left = self._held_since + JOIN_SECONDS - time.monotonic()
                if self._held and left <= 0:
                    self._send_held()
                # It stays awake while texts come: to wake it for each takes cells some of their
                # time.
                self._asleep = not self._held and self._held_since == seen
                seen = self._held_since
                if self._asleep:
                    self._changed.wait()
                else:
                    self._changed.wait(left if self._held else JOIN_SECONDS)


def _weight(output: Output) -> int:
    """About how many characters a message has, without serialising it once more."""
    size = sum(map(len, output.buffers))
    todo: list[Any] = [output.content, output.metadata]
    while todo and size < MAX_UNSENT_CHARS:
        item = todo.pop()
        size += len(item) if isinstance(item, str) else NUMBER_CHARS
        if isinstance(item, dict):
            todo += item.keys()
            todo += item.values()
        elif isinstance(item, list):
            todo += item
    return size
