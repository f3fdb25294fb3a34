"""The messages of the wire.

Each class is one ``type`` of message. Requests go from client to server and carry an ``id``; events
come back with the ``id`` that they belong to. `parse_request` and `parse_event` read a JSON object,
`encode` writes a line. Keys that a class doesn't know are ignored, so that either end may be newer.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import field
from typing import Any, Callable, ClassVar, Dict, List, Optional, Type, TypeVar

from .errors import BadMessage, UnknownType
from .framing import dump_line
from .message import MAX_ID_CHARS, Json, Message, Number, columns_of, message

MAX_PIECE_BYTES = 1024 * 1024
"""The most of a file that moves in one message."""


# ---- requests: client to server --------------------------------------------------------------


@message
class FromClient(Message):
    """What a client may send."""


@message
class Ack(FromClient):
    """The client has all lines up to this number. Has no id, and no answer."""

    TYPE: ClassVar[str] = "ack"
    received: int


@message
class Request(FromClient):
    """A request; the server answers each with exactly one `Final` of the same ``id``."""

    id: str

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        if not self.id:  # events of no request have that
            raise BadMessage(f"{self.TYPE}: 'id' must not be empty")


@message
class SessionRequest(Request):
    """A request to one session, by its name.

    Where there is a key ``subshell``, "" is the main shell. Any other name is a subshell, made when
    it is first named; its requests run in a thread of their own, beside the main shell's.
    """

    session: str


@message
class Hello(Request):
    """The first line of protocol 1. ``nonce`` is 32 random bytes in hex."""

    TYPE: ClassVar[str] = "hello"
    protocol: int
    nonce: str
    client: str = ""


@message
class Auth(Request):
    """The client's proof that it knows the secret (hex); see protocol.py."""

    TYPE: ClassVar[str] = "auth"
    proof: str


@message
class Resume(Request):
    """The first request of a client that may come back after its connection is lost.

    ``client`` is a name that no other client has; ``received`` is the number of the last line that
    it has from the server. result: new (bool), received (the number of the last request that the
    server has), next (the number of the line that follows).
    """

    TYPE: ClassVar[str] = "resume"
    client: str
    received: int = 0


@message
class Ping(Request):
    """Is anybody there?"""

    TYPE: ClassVar[str] = "ping"


@message
class Leave(Request):
    """The client will not come back: its commands end, and nothing is kept for it."""

    TYPE: ClassVar[str] = "leave"


@message
class OpenSession(SessionRequest):
    """Make the session if there is none, and send its events over this connection from now on.

    result: new (bool), shell ("ipython" or "plain"), python, ipython, pid, execution_count,
    notes (what the person should be told once).
    """

    TYPE: ClassVar[str] = "open_session"


@message
class RestartSession(SessionRequest):
    """Drop the variables: a fresh fork under the same name. result: as of open_session."""

    TYPE: ClassVar[str] = "restart_session"


@message
class CloseSession(SessionRequest):
    """End the session."""

    TYPE: ClassVar[str] = "close_session"


@message
class Execute(SessionRequest):
    """Run a cell. ``timeout`` in seconds; ``parent`` is the Jupyter header that asked for it.

    ``metadata`` is that message's; a frontend names its cell there.
    ``cwd`` and ``env`` hold while it runs; those before come back at its end.
    result: the content of Jupyter's execute_reply.
    """

    TYPE: ClassVar[str] = "execute"
    code: str
    silent: bool = False
    store_history: bool = True
    user_expressions: Json = field(default_factory=dict)
    allow_stdin: bool = False
    timeout: Optional[Number] = None
    cell_id: Optional[str] = None
    parent: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    subshell: str = ""
    cwd: Optional[str] = None
    env: Json = field(default_factory=dict)


@message
class Interrupt(SessionRequest):
    """Ctrl-C to the session's process group. result: {"running": whether a cell was running}."""

    TYPE: ClassVar[str] = "interrupt"


@message
class InputReply(SessionRequest):
    """The answer to an input_request; ``request`` is the id of the cell that asked."""

    TYPE: ClassVar[str] = "input_reply"
    request: str
    value: str


@message
class Complete(SessionRequest):
    """Complete ``code`` at ``cursor_pos`` (Unicode characters). result: complete_reply."""

    TYPE: ClassVar[str] = "complete"
    code: str
    cursor_pos: int
    subshell: str = ""


@message
class Inspect(SessionRequest):
    """Describe the object at ``cursor_pos``. result: inspect_reply."""

    TYPE: ClassVar[str] = "inspect"
    code: str
    cursor_pos: int
    detail_level: int = 0
    omit_sections: List[str] = field(default_factory=list)
    subshell: str = ""


@message
class IsComplete(SessionRequest):
    """Whether ``code`` can be run as it is. result: is_complete_reply."""

    TYPE: ClassVar[str] = "is_complete"
    code: str
    subshell: str = ""


@message
class History(SessionRequest):
    """``access`` is the content of Jupyter's history_request. result: history_reply."""

    TYPE: ClassVar[str] = "history"
    access: Json = field(default_factory=dict)
    subshell: str = ""


@message
class CloseSubshell(SessionRequest):
    """End a subshell, after what it was asked before. result: {"running": whether it was there}."""

    TYPE: ClassVar[str] = "close_subshell"
    subshell: str


@message
class CommInfo(SessionRequest):
    """The open comms. result: comm_info_reply."""

    TYPE: ClassVar[str] = "comm_info"
    target_name: Optional[str] = None
    subshell: str = ""


@message
class CommRequest(SessionRequest):
    """What a frontend says on a comm (widgets). ``buffers`` are base64."""

    comm_id: str
    data: Any = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    buffers: List[str] = field(default_factory=list)
    parent: Json = field(default_factory=dict)
    subshell: str = ""


@message
class CommOpenRequest(CommRequest):
    """A frontend opens a comm."""

    TYPE: ClassVar[str] = "comm_open"
    target_name: str = ""


@message
class CommMsgRequest(CommRequest):
    """A frontend's message on a comm."""

    TYPE: ClassVar[str] = "comm_msg"


@message
class CommCloseRequest(CommRequest):
    """A frontend closes a comm."""

    TYPE: ClassVar[str] = "comm_close"


@message
class Push(SessionRequest):
    """Set the variables that the file ``path`` holds (see values), and remove the file."""

    TYPE: ClassVar[str] = "push"
    path: str


@message
class Pull(SessionRequest):
    """Write variables into a fresh file. result: path, size; the client removes it."""

    TYPE: ClassVar[str] = "pull"
    names: List[str]


@message
class FileRequest(Request):
    """A request for one file or folder; a relative ``path`` starts at the working folder."""

    path: str


@message
class PutFile(FileRequest):
    """A piece of a file: ``data`` (base64) at ``offset``, of ``size`` bytes in all.

    The file appears when it is complete and has the digest ``sha256`` (hex).
    result: written (how much the server has), done.
    """

    TYPE: ClassVar[str] = "put_file"
    data: str
    offset: int
    size: int
    sha256: str


@message
class GetFile(FileRequest):
    """Read a piece. result: data (base64), size, mtime, eof; sha256 of it all with the last one."""

    TYPE: ClassVar[str] = "get_file"
    offset: int = 0
    length: int = MAX_PIECE_BYTES


@message
class ListFiles(FileRequest):
    """What is in a folder, by name, from behind ``after``. result: entries, more."""

    TYPE: ClassVar[str] = "list_files"
    after: str = ""


@message
class RemoveFile(FileRequest):
    """Remove a file."""

    TYPE: ClassVar[str] = "remove_file"


@message
class Run(Request):
    """Run a shell command. ``timeout`` in seconds; ``stdin`` is text.

    Its output comes as chunks. result: exit_code and signal, one of which is None.
    """

    TYPE: ClassVar[str] = "run"
    command: str
    cwd: Optional[str] = None
    env: Json = field(default_factory=dict)
    timeout: Optional[Number] = None
    stdin: str = ""


@message
class Cancel(Request):
    """Interrupt a running `Run` by its id."""

    TYPE: ClassVar[str] = "cancel"
    target: str


@message
class Status(Request):
    """How the server is. result: version, python, uptime (s), sessions, limits and more."""

    TYPE: ClassVar[str] = "status"


# ---- events: server to client ----------------------------------------------------------------


@message
class Event(Message):
    """Something that happened in the request ``id`` ("" where it belongs to none)."""

    id: str


@message
class ServerHello(Event):
    """The answer to hello. ``proof`` is there where the server has a secret."""

    TYPE: ClassVar[str] = "hello"
    protocol: int
    server: str
    nonce: str
    proof: Optional[str] = None
    capabilities: List[str] = field(default_factory=list)


@message
class Fault(Event):
    """Something that the client sent can't be read; ``code`` is a code of errors.py."""

    TYPE: ClassVar[str] = "fault"
    code: str
    message: str


@message
class Chunk(Event):
    """A piece of output; ``stream`` is "stdout" or "stderr"."""

    TYPE: ClassVar[str] = "chunk"
    data: str
    stream: str = "stdout"


@message
class Display(Event):
    """A MIME bundle to show. Binary data is base64, as Jupyter has it."""

    TYPE: ClassVar[str] = "display"
    data: Json
    metadata: Json = field(default_factory=dict)
    transient: Json = field(default_factory=dict)


@message
class UpdateDisplay(Event):
    """A new MIME bundle for the display that ``transient.display_id`` names."""

    TYPE: ClassVar[str] = "update_display"
    data: Json
    metadata: Json = field(default_factory=dict)
    transient: Json = field(default_factory=dict)


@message
class ClearOutput(Event):
    """Clear the cell's output, at once or with the next output (``wait``)."""

    TYPE: ClassVar[str] = "clear_output"
    wait: bool = False


@message
class Result(Event):
    """The value of a cell's last expression."""

    TYPE: ClassVar[str] = "result"
    data: Json
    execution_count: int
    metadata: Json = field(default_factory=dict)


@message
class Error(Event):
    """An exception in a cell; ``traceback`` has one string a frame, with terminal colours."""

    TYPE: ClassVar[str] = "error"
    ename: str
    evalue: str
    traceback: List[str] = field(default_factory=list)


@message
class InputRequest(Event):
    """The cell asks the person for a line; answer with input_reply."""

    TYPE: ClassVar[str] = "input_request"
    prompt: str = ""
    password: bool = False


@message
class _CommEvent(Event):
    """What a session says on a comm. ``buffers`` are base64."""

    comm_id: str
    data: Any = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    buffers: List[str] = field(default_factory=list)


@message
class CommOpen(_CommEvent):
    """The session opens a comm."""

    TYPE: ClassVar[str] = "comm_open"
    target_name: str = ""
    target_module: Optional[str] = None


@message
class CommMsg(_CommEvent):
    """The session's message on a comm."""

    TYPE: ClassVar[str] = "comm_msg"


@message
class CommClose(_CommEvent):
    """The session closes a comm."""

    TYPE: ClassVar[str] = "comm_close"


@message
class SessionDied(Event):
    """A session's process ended. ``reason``: exit, signal or oom; ``detail`` is for people."""

    TYPE: ClassVar[str] = "session_died"
    session: str
    reason: str
    detail: str = ""


@message
class Gap(Event):
    """Here ``lines`` lines, of about ``bytes`` bytes, are missing: the client was away for long."""

    TYPE: ClassVar[str] = "gap"
    lines: int
    bytes: int


@message
class Final(Event):
    """The end of a request.

    ``status`` is 0 for success; for commands it is what a shell would say: the exit code, 128 + N
    for signal N, 124 for a timeout, 130 for an interrupt. ``reason`` tells the cases apart:
    "ok", "error" (the code raised), "exit" (a status that isn't 0), "signal", "timeout",
    "interrupt", "died" (the session's process ended), "refused" (``code`` says why), "closed" (the
    session was restarted or closed, or the server stops). ``seconds`` is the time that a cell or a
    command took.
    """

    TYPE: ClassVar[str] = "final"
    status: int
    reason: str = "ok"
    result: Any = None
    code: str = ""
    seconds: Optional[Number] = None


# ---- reading and writing -----------------------------------------------------------------------

M = TypeVar("M", bound=Message)


def _register(base: Type[M]) -> Dict[str, Type[M]]:
    """All message types below ``base``, by their ``type``."""
    found: Dict[str, Type[M]] = {}
    todo: List[Type[M]] = [base]
    while todo:
        cls = todo.pop()
        todo.extend(cls.__subclasses__())
        if cls.TYPE:
            found[cls.TYPE] = cls
    return found


REQUESTS: Dict[str, Type[FromClient]] = _register(FromClient)
EVENTS: Dict[str, Type[Event]] = _register(Event)


def _parser(register: Dict[str, Type[M]]) -> Callable[[Json], M]:
    def parse(data: Json) -> M:
        kind = data.get("type")
        if not isinstance(kind, str):
            raise BadMessage("a message has no 'type'")
        if kind not in register:
            raise UnknownType(f"unknown type {kind[:MAX_ID_CHARS]!r}")
        cls = register[kind]
        columns = columns_of(cls)
        missing = [each.name for each in columns if each.required and each.name not in data]
        if missing:
            raise BadMessage(f"{kind}: missing {', '.join(missing)}")
        return cls(**{each.name: data[each.name] for each in columns if each.name in data})

    return parse


parse_request: Callable[[Json], FromClient] = _parser(REQUESTS)
parse_event: Callable[[Json], Event] = _parser(EVENTS)


def encode(message: Message) -> bytes:
    """The message as one line. `BadMessage` if a value of it isn't JSON."""
    try:
        return dump_line(message.to_json())
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadMessage(f"{message.TYPE}: {exc}") from exc


def pack_buffers(buffers: List[bytes]) -> List[str]:
    """Binary buffers as they stand in a message."""
    return [base64.b64encode(buffer).decode("ascii") for buffer in buffers]


def unpack_buffers(texts: List[str]) -> List[bytes]:
    """The buffers of a message; `BadMessage` where one isn't base64."""
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError, TypeError) as exc:
        raise BadMessage(f"a buffer is not base64: {exc}") from exc
