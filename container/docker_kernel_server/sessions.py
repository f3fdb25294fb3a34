"""All sessions of a server, by name, and the zygote that they are forked from."""

from __future__ import annotations

import asyncio
import functools
from typing import Dict, List, Optional

from .bootstrap import ZygoteProcess
from .errors import RequestRefused
from .links import ZygoteLink
from .message import Json
from .messages import (
    CloseSession,
    Final,
    InputReply,
    Interrupt,
    OpenSession,
    RestartSession,
    SessionRequest,
)
from .pending import Answer
from .processes import Usage, read_trees
from .session import Session, Sink
from .shortage import Watches

STOP_SECONDS = 2.0
"""How long the sessions may take to end when the server stops; then their keepers see to it."""

MAX_SESSIONS = 1000


class Sessions:
    """All sessions of a server, and the zygote that they come from.

    ``zygote`` is the first one where that was started already; who started it closes it, too.
    """

    def __init__(
        self, python: str, lent: str, workplace: str, zygote: Optional[ZygoteProcess] = None
    ) -> None:
        self._start_zygote = functools.partial(ZygoteProcess, python, lent, workplace)
        self._started = zygote
        self._zygote: Optional[ZygoteLink] = None
        self._sessions: Dict[str, Session] = {}
        self._closed = False
        self._watches = Watches()

    def zygote(self) -> ZygoteLink:
        """The zygote; started here if there is none. `RequestRefused` where the server stops."""
        if self._closed:
            raise RequestRefused("the server stops")
        if self._zygote is None:
            started, self._started = self._started, None
            self._zygote = ZygoteLink(started or self._start_zygote(), self._zygote_ended)
        return self._zygote

    def handle(self, request: SessionRequest, answer: Answer, sink: Sink) -> None:
        """Serve a request to a session. `RequestRefused` where it can't be served."""
        session = self._sessions.get(request.session)
        if isinstance(request, OpenSession):
            session = session or self._add(request.session)
            session.open(request, answer, sink)
        elif session is None:
            raise RequestRefused(f"there is no session {request.session!r}; open it first")
        elif session.sink is not sink:
            raise RequestRefused(
                f"session {request.session!r} is used by another connection; open it again first"
            )
        elif isinstance(request, RestartSession):
            session.restart(request, answer)
        elif isinstance(request, CloseSession):
            del self._sessions[request.session]
            session.end(request, answer)
        elif isinstance(request, Interrupt):
            answer(Final(request.id, 0, result={"running": session.interrupt()}))
        elif isinstance(request, InputReply):
            session.reply_to_input(request)
            answer(Final(request.id, 0))
        else:
            session.submit(request, answer)

    def status(self) -> List[Json]:
        """A line for each session, with what its processes use."""
        lines = [session.status() for session in self._sessions.values()]
        used = read_trees([line["pid"] for line in lines if line["pid"] is not None])
        return [{**line, **vars(used.get(line["pid"], Usage()))} for line in lines]

    def of(self, sink: Sink) -> List[Session]:
        """The sessions whose events go to ``sink``."""
        return [session for session in self._sessions.values() if session.sink is sink]

    async def close(self) -> None:
        """End the zygote, and with it all starts that wait; then every session."""
        self._closed = True
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        waits: "List[asyncio.Future[Final]]" = []
        for session in self._sessions.values():
            ended: "asyncio.Future[Final]" = asyncio.get_running_loop().create_future()
            session.end(CloseSession("close", session.name), ended.set_result)
            waits.append(ended)
        self._sessions.clear()
        if waits:
            await asyncio.wait(waits, timeout=STOP_SECONDS)
        self._watches.close()

    def _add(self, name: str) -> Session:
        if len(self._sessions) >= MAX_SESSIONS:
            # What could never be started takes no room from what can.
            self._sessions = {n: each for n, each in self._sessions.items() if not each.failed}
        if len(self._sessions) >= MAX_SESSIONS:
            raise RequestRefused(f"there are {MAX_SESSIONS} sessions already; close one first")
        session = self._sessions[name] = Session(name, self.zygote, self._watches)
        return session

    def _zygote_ended(self) -> None:
        self._zygote = None
