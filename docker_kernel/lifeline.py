"""A connection to a server that outlives the TCP connections under it.

Lines are numbered both ways, by counting. Each side keeps what the other may not have: the server
its events until they are acknowledged, this side its requests until they are answered. After a lost
connection each says how many it has and gets the rest: nothing is lost, and nothing runs twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from docker_kernel_server.framing import keep_freed_memory
from docker_kernel_server.messages import Ack, Event, Final, Leave, Ping, Resume, encode

from .absence import Absence, pauses
from .deadline import Deadline
from .endpoint import Endpoint
from .errors import AuthenticationFailed, ConnectionLost, ServerError, VersionMismatch
from .texts import plain
from .transport import Link, attempt, connect, nobody_listens

ACK_BYTES = 1024 * 1024
"""After so much, what has come is acknowledged."""

KEEP_SECONDS = 5.0
"""How often it is acknowledged at least, and the connection looked after."""

SILENT_SECONDS, ANSWER_SECONDS = 20.0, 10.0
"""After so long a silence the server is asked whether it's there, and has so long to answer."""

CLOSE_SECONDS = 2.0
"""How long `close` waits for the threads."""

TURN_SECONDS = 0.1
"""How long a short line waits for a long one that is being sent."""

PING, LEAVE = "ping", "leave"

ANEW = "run it again: that begins anew, without variables"
GOES_ON = "run it again: that connects again; what ran on the server may still run"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listener:
    """Whom a `Lifeline` tells, in its reading thread.

    ``on_end`` is called once, when it is lost for good; ``on_notice`` gets what a person should
    know while it isn't. ``why_lost`` says why the server is gone, ``trouble`` why one that is there
    doesn't answer; "" where it isn't so.
    """

    on_event: Callable[[Event], None]
    on_end: Callable[[ConnectionLost], None]
    on_notice: Callable[[str], None] = lambda _text: None
    why_lost: Callable[[], str] = lambda: ""
    trouble: Callable[[], str] = lambda: ""


class Lifeline:
    """See the module's docstring. After a loss it tries for ``patience`` seconds to come back."""

    def __init__(
        self, endpoint: Endpoint, deadline: Deadline, patience: float, listener: Listener
    ) -> None:
        """Connect; see `transport.connect` for what it raises. `start` begins the reading."""
        keep_freed_memory()
        self._endpoint = endpoint
        self._patience = patience
        self._listener = listener
        self._name = secrets.token_hex(16)
        self._received = self._received_bytes = self._counted_bytes = 0
        self._acknowledged = self._acknowledged_bytes = 0
        self._sent = 0
        self._sending = threading.Lock()
        # The lines that aren't answered yet, by their requests' ids, in order.
        self._kept: dict[str, tuple[int, bytes]] = {}
        self._ending = threading.Event()
        self._given_up = ""
        self._to_acknowledge = threading.Event()
        self._waiting_since: float | None = None
        """Since when the reading thread waits for the server; None where it doesn't."""
        self._asked_at = 0.0
        self._silent = False
        """Whether the server was given up for its silence."""

        def why_gone() -> str:
            return listener.why_lost() or listener.trouble()

        self._link = connect(endpoint, deadline, why_gone, self._resume())
        self.server = self._link.protocol.server
        self.away = False
        """Whether it is trying to come back."""
        self.trouble = ""
        """Why it couldn't, the last time that it tried."""
        # Ends a pause between two tries.
        self._hurry = threading.Event()
        # Not so while it is away.
        self._settled = threading.Event()
        self._settled.set()
        self._threads = [
            threading.Thread(target=work, name=f"docker-kernel {name}", daemon=True)
            for name, work in (("reader", self._run), ("keeper", self._keep))
        ]
        self._resender: threading.Thread | None = None
        self._pauses, self._back_with = pauses(), 0

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def send(self, request_id: str, line: bytes) -> None:
        """Send a request's line, or keep it for the time when the connection is back."""
        with self._sending:
            # In this order: where Ctrl-C comes between the two, nothing is ever sent twice.
            self._kept[request_id] = (self._sent + 1, line)
            self._sent += 1
            if not self.away:
                self._try_to_send(line)

    def give_up(self, why: str) -> bool:
        """End it, where it is trying to come back; False where it isn't."""
        if not self.away or self._ending.is_set():
            return False
        self._given_up = why
        self._ending.set()
        self._hurry.set()
        self._link.stream.shut()  # where it came back just now
        return True

    def wait_until_back(self, seconds: float) -> bool:
        """Wait while it is trying to come back, which it does at once; False where it hasn't by
        then."""
        self._hurry.set()
        return self._settled.wait(seconds)

    def close(self) -> None:
        """Leave the server, and end the threads."""
        self._ending.set()
        self._hurry.set()
        # A server that doesn't hear of it finds out by itself, later.
        with self._in_turn() as turn:
            if turn:
                self._try_to_send(encode(Leave(LEAVE)))
        # The reading thread closes it: while others use it, its number mustn't become another's.
        self._link.stream.shut()
        self._to_acknowledge.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(CLOSE_SECONDS)

    def _resume(self) -> Resume:
        return Resume("resume", self._name, self._received)

    def _try_to_send(self, line: bytes) -> None:
        try:
            self._link.stream.send(line)
        except ConnectionLost:
            # The reading thread sees the same end. The line is kept, and goes out after it.
            log.debug("the connection broke while something was sent")
        except BaseException:
            # Ctrl-C, perhaps in the middle of a line: what follows it would be a part of it.
            self._link.stream.shut()
            raise

    # -- the reading thread

    def _run(self) -> None:
        try:
            while True:
                lost = self._read()
                end = self._come_back(lost)
                if end is not None:
                    break
        except Exception as exc:  # noqa: BLE001 - the others have to hear of the end
            log.error(  # noqa: TRY400 - what the server says may stand in it
                "reading from the server failed:\n%s", plain(traceback.format_exc())
            )
            end = ConnectionLost("reading from the server failed", str(exc))
        self._ending.set()
        self._link.stream.close()
        self._to_acknowledge.set()
        self._listener.on_end(end)
        self._settled.set()

    def _read(self) -> ConnectionLost:
        """Read until the connection is lost."""
        link = self._link
        try:
            for event in link.early:
                self._take(event)
            while data := self._receive():
                for event in link.protocol.receive(data):
                    self._take(event)
                self._received_bytes += len(data)
                long_ago = self._received_bytes - self._acknowledged_bytes > ACK_BYTES
                if long_ago and self._received > self._acknowledged:
                    self._to_acknowledge.set()
        except ConnectionLost as exc:
            return exc
        did = "says nothing any more" if self._silent else "closed the connection"
        return ConnectionLost(f"the server at {self._endpoint} {did}")

    def _receive(self) -> bytes:
        self._waiting_since = time.monotonic()
        try:
            return self._link.stream.receive()
        finally:
            self._waiting_since = None

    def _take(self, event: Event) -> None:
        if isinstance(event, Final):
            self._kept.pop(event.id, None)
        if event.id not in (PING, LEAVE):
            self._listener.on_event(event)
        # Counted when it has been dealt with: what is acknowledged isn't sent again. Of a long line
        # that comes behind it nothing is counted yet: the server may wait for that one's ack.
        self._counted_bytes = self._received_bytes
        self._received += 1

    # -- coming back

    def _come_back(self, lost: ConnectionLost) -> ConnectionLost | None:
        """Connect again, and go on. Returns the end, where there is no hope."""
        self._hang_up()
        absence = Absence(lost, self._patience)
        for pause in self._pauses:
            self._hurry.wait(pause)
            self._hurry.clear()
            if self._ending.is_set():
                return ConnectionLost(lost.what, self._given_up, GOES_ON)
            if why := self._listener.why_lost():
                return ConnectionLost(lost.what, why, ANEW)
            try:
                link = attempt(self._endpoint, self._resume())
            except (AuthenticationFailed, VersionMismatch) as exc:
                return ConnectionLost(lost.what, f"another server is there now: {exc.why}", ANEW)
            except ServerError as exc:
                if self._tries_on(absence, exc):
                    continue
                return ConnectionLost(lost.what, absence.describe(self.trouble), GOES_ON)
            end = self._go_on(link, lost)
            if end is None and absence.told is not None:
                self._listener.on_notice("The connection is back; what was missed follows.")
            return end
        raise AssertionError("the pauses never end")

    def _hang_up(self) -> None:
        self._link.stream.shut()  # who is sending would wait for ever, perhaps
        if self._resender is not None:
            self._resender.join()
        self._settled.clear()
        with self._sending:
            self.away = True
        self._link.stream.close()
        self._silent = False
        # A connection over which nothing came is none yet: the pauses go on growing.
        if self._received > self._back_with:
            self._pauses, self._back_with = pauses(), self._received

    def _tries_on(self, absence: Absence, exc: ServerError) -> bool:
        """After a try that failed: tell the person why, where that is news. False: it's enough."""
        known = self._listener.trouble()
        self.trouble = known or exc.why or exc.what
        absence.tried(nobody_listens(exc))
        if known:
            absence.prolong()
        if news := absence.news(known, self.trouble):
            self._listener.on_notice(news)
        return not absence.over()

    def _go_on(self, link: Link, lost: ConnectionLost) -> ConnectionLost | None:
        """Use this connection. Returns the end, where that is of no use."""
        resumed = link.protocol.resumed
        received, following = resumed.get("received"), resumed.get("next")
        if (
            resumed.get("new")
            or not (isinstance(received, int) and isinstance(following, int))
            or not (0 <= received <= self._sent and following > self._received)
        ):
            link.stream.close()
            return ConnectionLost(lost.what, "the server there has begun anew", ANEW)
        self._link, self._received = link, following - 1
        self._back_with = self._received
        # Looked at behind that: whoever sets it later finds this link, and ends it.
        if self._ending.is_set():
            if not self._given_up:
                self._try_to_send(encode(Leave(LEAVE)))
            return ConnectionLost(lost.what, self._given_up, GOES_ON)
        # Beside the reading: a server whose lines aren't read may read no more itself.
        self._resender = threading.Thread(
            target=self._resend, args=(received,), name="docker-kernel resender", daemon=True
        )
        self._resender.start()
        return None

    def _resend(self, received: int) -> None:
        """Send what the server, which has so many lines, has missed."""
        with self._sending:
            self.away = False
            self._settled.set()
            # Counted anew, as a ping that got lost is not sent again.
            self._sent = received
            for request_id, (number, line) in list(self._kept.items()):
                if number > received:
                    self._sent += 1
                    self._kept[request_id] = (self._sent, line)
                    self._try_to_send(line)

    # -- the keeping thread

    def _keep(self) -> None:
        """Acknowledge, and find out whether a silent server is still there."""
        while not self._ending.is_set():
            self._to_acknowledge.wait(KEEP_SECONDS)
            self._to_acknowledge.clear()
            if not self.away:
                self._acknowledge()
                self._look_after()

    def _acknowledge(self) -> None:
        size, received = self._counted_bytes, self._received  # in the order of `_take`
        if received > self._acknowledged:
            with self._in_turn() as turn:
                if turn:
                    self._try_to_send(encode(Ack(received)))
                    self._acknowledged, self._acknowledged_bytes = received, size

    def _look_after(self) -> None:
        now, since, asked = time.monotonic(), self._waiting_since, self._asked_at
        if since is None:
            return
        # A server that takes a long line isn't dead, however slow the way there is.
        since = max(since, self._link.stream.progress_at)
        if now - since < SILENT_SECONDS:
            return
        if asked < since:
            self._asked_at = now
            with self._in_turn() as turn:
                if turn:
                    self._sent += 1
                    self._try_to_send(encode(Ping(PING)))
        elif now - asked > ANSWER_SECONDS:
            self._silent = True
            self._link.stream.shut()

    @contextmanager
    def _in_turn(self) -> Iterator[bool]:
        """Whether a short line can be sent at once; who looks after a connection can't wait."""
        turn = self._sending.acquire(timeout=TURN_SECONDS)
        try:
            yield turn and not self.away and self._link.stream.writable()
        finally:
            if turn:
                self._sending.release()
