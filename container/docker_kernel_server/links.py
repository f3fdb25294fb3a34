"""The server's ends of its processes: the zygote, and the keepers and workers that it forks."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
from typing import Any, Callable, Dict, List, Optional

from .bootstrap import REQUEST_BYTES, ZygoteProcess
from .channel import Channel, OutputPipe
from .framing import LineSplitter
from .processes import is_stopped

MAX_LINGERING_PIPES = 256
"""Pipes that background processes of earlier cells still hold; past this the oldest is closed."""

AWAKE_SECONDS = 1.0
"""How long a process of ours may not answer; one that is stopped then is ended."""

FD_BYTES = array.array("i").itemsize
MAX_CELL_BYTES = 4096

ZYGOTE_ENDED = "the process that starts sessions has ended"

OnExit = Callable[["WorkerLink", int], None]
OnGone = Callable[["WorkerLink"], None]
OnLine = Callable[[bytes], None]
OnText = Callable[[str, str, str], None]


class ZygoteLink:
    """Asks a zygote for workers. Owns its process."""

    def __init__(self, zygote: ZygoteProcess, on_end: Callable[[], None]) -> None:
        self._zygote = zygote
        self._channel = Channel(zygote.socket, lambda _: self._end())
        self._on_end = on_end

    async def fork(self, link: "WorkerLink") -> None:
        """Fork a worker at the other end of this link.

        ConnectionError where the zygote is gone, OSError where there can be no further process.
        """
        rights = array.array("i", [each.fileno() for each in link.theirs])
        request = b"\n" * REQUEST_BYTES
        try:
            # It is far smaller than a socket's buffer.
            self._zygote.socket.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as exc:  # it has died, and we haven't read its end yet
            self._end()
            raise ConnectionError(ZYGOTE_ENDED) from exc
        finally:
            # Those on their way end with the zygote; then the reins do, which the link sees.
            for each in link.theirs:
                each.close()
        await keep_awake(self._zygote.process.pid, link.forked, self._end)
        await link.forked

    def close(self) -> None:
        """End the zygote. The workers have their keepers."""
        self._channel.close()
        self._zygote.close()

    def _end(self) -> None:
        if self._zygote.process.returncode is None:
            self.close()
            self._on_end()


class WorkerLink:
    """The wire of one worker, the pipes of its cells, and the reins: the socket of its keeper.

    Owns the sockets and the pipes.

    ``on_line`` gets each line of the worker, with its newline, ``on_text`` (cell, stream, text)
    what came through a cell's pipes. What was in the pipes when a line came is told before the
    line. ``on_exit`` gets the link and the wait status at the worker's end, ``on_gone`` the link
    when all that the worker has left has ended, too.
    """

    def __init__(self, on_line: OnLine, on_text: OnText, on_exit: OnExit, on_gone: OnGone) -> None:
        reins, their_reins = socket.socketpair()
        wire, their_wire = socket.socketpair()
        pipes, their_pipes = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        pipes.setblocking(False)
        self.theirs = (their_reins, their_wire, their_pipes)
        self.pid = 0
        """The worker's; 0 where there is none yet, or any more."""
        self._loop = asyncio.get_running_loop()
        self.forked: "asyncio.Future[None]" = self._loop.create_future()
        self._gone: "asyncio.Future[None]" = self._loop.create_future()
        self._keeper = 0
        self._watch: "Optional[asyncio.Task[None]]" = None
        self._on_line = on_line
        self._on_text = on_text
        self._on_exit = on_exit
        self._on_gone = on_gone
        self._lines = LineSplitter(keep_newlines=True)
        self._words = LineSplitter()
        self._pipes: List[OutputPipe] = []
        self._pipes_socket: Optional[socket.socket] = pipes
        self._paused = False
        self._wire = Channel(wire, self._on_data)
        self._reins = Channel(reins, self._on_reins)
        self._loop.add_reader(pipes, self._receive_pipes)

    def send(self, line: bytes) -> None:
        """Send a line to the worker."""
        self._wire.send(line)

    def signal(self, number: int) -> None:
        """Signal the worker; Ctrl-C is for its whole group. What is stopped goes on, to take it.

        The keeper ends the others when the worker has ended.
        """
        if not self.pid:
            return
        group = number == signal.SIGINT
        for each in (number, signal.SIGCONT):
            _kill(self.pid, each, group)
        _kill(self._keeper, signal.SIGCONT)
        if number == signal.SIGKILL:
            self._expect_end()

    def pause(self) -> None:
        """Stop reading: the worker has to wait when it writes."""
        self._paused = True
        self._wire.pause()
        for pipe in self._pipes:
            pipe.pause()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self._wire.resume()
        for pipe in self._pipes:
            pipe.resume()

    def drain_pipes(self) -> None:
        """Tell all that is in the cells' pipes now."""
        self._receive_pipes()
        for pipe in list(self._pipes):
            pipe.drain()

    def close(self) -> None:
        """Close everything. The keeper ends the worker, where it lives, and what it has left."""
        self._end_wire()
        self._reins.close()
        for each in self.theirs:
            each.close()
        for pipe in list(self._pipes):
            pipe.close()
        if not self.forked.cancel() and not self.forked.cancelled():
            self.forked.exception()  # nobody else may ask for it
        self._gone.cancel()

    def _end_wire(self) -> None:
        """The worker is gone: tell what it has said. What it has left may print yet."""
        self._wire.drain()
        self.drain_pipes()
        self._wire.close()
        if self._pipes_socket is not None:
            self._loop.remove_reader(self._pipes_socket)
            self._pipes_socket.close()
            self._pipes_socket = None

    def _on_data(self, data: bytes) -> None:
        if not data:
            # It has ended, or its code has closed the wire: nobody could reach it any more.
            self.signal(signal.SIGKILL)
        for line in self._lines.feed(data):
            if isinstance(line, bytes):
                self.drain_pipes()
                self._on_line(line)

    def _on_reins(self, data: bytes) -> None:
        for line in self._words.feed(data):
            if isinstance(line, bytes):
                self._on_word(json.loads(line))
        if data:
            return
        if not self.forked.done():
            self.forked.set_exception(ConnectionError(ZYGOTE_ENDED))
        elif self.pid:
            # The keeper was killed. The zygote ends what was below it.
            _kill(self.pid, signal.SIGKILL, group=True)
            self._end(signal.SIGKILL)
        if not self._gone.done():
            self._gone.set_result(None)
        self.close()
        self._on_gone(self)

    def _on_word(self, word: Dict[str, Any]) -> None:
        if "pid" in word:
            self.pid, self._keeper = word["pid"], word["keeper"]
            if not self.forked.done():
                self.forked.set_result(None)
        elif "failed" in word:
            if not self.forked.done():
                self.forked.set_exception(OSError(word["failed"]))
        elif self.pid:
            self._end(word["exited"])

    def _end(self, status: int) -> None:
        self.pid = 0
        self._expect_end()
        self._end_wire()
        self._on_exit(self, status)

    def _expect_end(self) -> None:
        """The worker ends; see that its keeper tells so, and ends the rest."""
        if self._watch is None:
            keeper = self._keeper
            watch = keep_awake(keeper, self._gone, lambda: _kill(keeper, signal.SIGKILL))
            self._watch = self._loop.create_task(watch)

    def _receive_pipes(self) -> None:
        while self._pipes_socket is not None:
            try:
                name, ancillary, _, _ = self._pipes_socket.recvmsg(
                    MAX_CELL_BYTES, socket.CMSG_SPACE(2 * FD_BYTES), socket.MSG_CMSG_CLOEXEC
                )
            except OSError:
                return
            if not name:
                self._loop.remove_reader(self._pipes_socket)
                return
            fds = array.array("i")
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(payload[: len(payload) // FD_BYTES * FD_BYTES])
            # The person's code can reach this socket, too, and send what is no pipe.
            if all(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in fds):
                # The newline only keeps the datagram of no cell from being empty.
                self._adopt(name[:-1].decode("utf-8", "replace"), list(fds))
            else:
                for fd in fds:
                    os.close(fd)

    def _adopt(self, cell: str, fds: List[int]) -> None:
        for stream, fd in zip(("stdout", "stderr"), fds):

            def on_text(text: str, stream: str = stream) -> None:
                self._on_text(cell, stream, text)

            pipe = OutputPipe(fd, on_text, self._pipes.remove)
            if self._paused:
                pipe.pause()
            self._pipes.append(pipe)
        if len(self._pipes) > MAX_LINGERING_PIPES:
            self._pipes[0].close()


async def keep_awake(pid: int, answer: "asyncio.Future[None]", give_up: Callable[[], None]) -> None:
    """Wait for the answer of a process of ours, which the person's code may have stopped.

    Where it's stopped again and again, ``give_up`` ends it.
    """
    while not answer.done():
        _kill(pid, signal.SIGCONT)
        await asyncio.wait([answer], timeout=AWAKE_SECONDS)
        if not answer.done() and is_stopped(pid):
            give_up()
            return


def _kill(pid: int, number: int, group: bool = False) -> None:
    """Signal a process, or its whole group where it has one already."""
    with contextlib.suppress(OSError):
        try:
            (os.killpg if group else os.kill)(pid, number)
        except ProcessLookupError:
            os.kill(pid, number)
