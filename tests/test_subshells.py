"""The kernel's subshells, on a true server without a container, as a frontend uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kernels import PATIENCE, Kernel, Message
from wire import Server

BUSY = "import threading\ngate = threading.Event()\nprint('busy')\ngate.wait()"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with (
        Server(tmp_path_factory.mktemp("work")) as server,
        Kernel(
            "--mode=attached", f"--port={server.port}", folder=tmp_path_factory.mktemp("kernel")
        ) as running,
    ):
        yield running


def control(kernel: Kernel, kind: str, **content: Any) -> Message:
    """Ask on the control channel; the reply's content."""
    message = kernel.client.session.msg(kind, content)
    kernel.client.control_channel.send(message)
    while True:
        reply: Message = kernel.client.get_control_msg(timeout=PATIENCE)
        if reply["parent_header"]["msg_id"] == message["header"]["msg_id"]:
            answer: Message = reply["content"]
            return answer


def send(kernel: Kernel, subshell: str | None, kind: str, **content: Any) -> str:
    """Send a request to a subshell; its id."""
    message = kernel.client.session.msg(kind, content)
    message["header"]["subshell_id"] = subshell
    kernel.client.shell_channel.send(message)
    return str(message["header"]["msg_id"])


def reply_to(kernel: Kernel, request: str) -> Message:
    while True:
        reply: Message = kernel.client.get_shell_msg(timeout=PATIENCE)
        if reply["parent_header"]["msg_id"] == request:
            return reply


def until_idle(kernel: Kernel, request: str) -> list[tuple[str, str]]:
    """Kind and content of what comes on iopub for a request, up to its idle."""
    seen: list[tuple[str, str]] = []
    while ("status", "idle") not in seen:
        message = kernel.next_output(lambda m: m["parent_header"].get("msg_id") == request)
        content = message["content"]
        seen.append(
            (message["msg_type"], content.get("execution_state") or content.get("text", ""))
        )
    return seen


def is_text_of(message: Message, request: str) -> bool:
    """Whether this is text that the request printed. (IPython 8 prints into others, too.)"""
    mine = message["parent_header"].get("msg_id") == request
    return bool(mine and message["msg_type"] == "stream")


@pytest.fixture
def subshell(kernel: Kernel) -> Iterator[str]:
    made = control(kernel, "create_subshell_request")["subshell_id"]
    yield made
    control(kernel, "delete_subshell_request", subshell_id=made)


@pytest.fixture
def busy(kernel: Kernel, subshell: str) -> Iterator[str]:
    """A cell that runs in the main shell until its gate is opened."""
    cell = kernel.client.execute(BUSY)
    kernel.next_output(lambda message: is_text_of(message, cell))
    yield cell
    send(kernel, subshell, "execute_request", code="gate.set()", silent=False)
    assert reply_to(kernel, cell)["content"]["status"] == "ok"


def test_they_are_made_listed_and_ended(kernel: Kernel) -> None:
    first, second = (control(kernel, "create_subshell_request") for _ in range(2))
    names = [first["subshell_id"], second["subshell_id"]]
    listed = control(kernel, "list_subshell_request")
    assert listed == {"status": "ok", "subshell_id": names}
    for name in names:
        ended = control(kernel, "delete_subshell_request", subshell_id=name)
        assert ended == {"status": "ok"}
    assert control(kernel, "list_subshell_request")["subshell_id"] == []
    again = control(kernel, "delete_subshell_request", subshell_id=names[0])
    assert again["status"] == "error"
    assert names[0] in again["evalue"]


@pytest.mark.usefixtures("busy")
def test_a_busy_kernel_answers_in_a_subshell(kernel: Kernel, subshell: str) -> None:
    """K5, K7: completion, inspection, comms and cells."""
    for kind, content in [
        ("complete_request", {"code": "gate.is_s", "cursor_pos": 9}),
        ("inspect_request", {"code": "gate", "cursor_pos": 1, "detail_level": 0}),
        ("comm_info_request", {}),
        ("execute_request", {"code": "1 + 1", "silent": False}),
    ]:
        reply = reply_to(kernel, send(kernel, subshell, kind, **content))
        assert reply["content"]["status"] == "ok"


@pytest.mark.usefixtures("busy")
def test_a_busy_main_shell_is_looked_into(kernel: Kernel, subshell: str) -> None:
    """K5: Tab and Shift+Tab in a notebook name no subshell."""
    assert kernel.ask("complete", "gate.is_s", 9)["matches"] == ["is_set"]
    inspected = kernel.ask("inspect", "gate", 2)
    assert "threading.Event" in inspected["data"]["text/plain"]
    assert control(kernel, "list_subshell_request")["subshell_id"] == [subshell]


def test_looks_leave_the_frontend_with_a_busy_kernel(kernel: Kernel, busy: str) -> None:
    """The last that is said of the kernel's state is true."""
    request = kernel.client.complete("gate.is_s", 9)
    assert until_idle(kernel, request) == [("status", "busy"), ("status", "idle")]
    again = kernel.next_output(lambda message: message["msg_type"] == "status")
    assert again["parent_header"]["msg_id"] == busy
    assert again["content"]["execution_state"] == "busy"


@pytest.mark.usefixtures("busy")
def test_what_a_subshell_prints_belongs_to_its_request(kernel: Kernel, subshell: str) -> None:
    request = send(kernel, subshell, "execute_request", code="print('aside')", silent=False)
    assert until_idle(kernel, request) == [
        ("status", "busy"),
        ("execute_input", ""),
        ("stream", "aside\n"),
        ("status", "idle"),
    ]


def test_the_main_shells_own_messages_keep_their_parent(
    kernel: Kernel, subshell: str, busy: str
) -> None:
    reply_to(kernel, send(kernel, subshell, "execute_request", code="2", silent=False))
    send(kernel, subshell, "execute_request", code="gate.set()", silent=False)
    assert until_idle(kernel, busy) == [("execute_result", ""), ("status", "idle")]


@pytest.mark.usefixtures("busy")
def test_an_error_aborts_what_waits_in_its_subshell_alone(kernel: Kernel, subshell: str) -> None:
    other = control(kernel, "create_subshell_request")["subshell_id"]
    # The error comes when all three have arrived, as the last of them lets it.
    failing = "import time\nwhile 'all' not in vars(): time.sleep(0.01)\n1 / 0"
    codes = [(subshell, failing), (subshell, "'queued'"), (other, "vars()['all'] = 3")]
    sent = [send(kernel, where, "execute_request", code=c, silent=False) for where, c in codes]
    statuses: dict[str, str] = {}
    while not statuses.keys() >= set(sent):
        reply = kernel.client.get_shell_msg(timeout=PATIENCE)
        statuses[reply["parent_header"]["msg_id"]] = reply["content"]["status"]
    assert [statuses[request] for request in sent] == ["error", "aborted", "ok"]
    after = reply_to(kernel, send(kernel, subshell, "execute_request", code="3", silent=False))
    assert after["content"]["status"] == "ok"
    control(kernel, "delete_subshell_request", subshell_id=other)


def test_a_subshell_that_is_not_there(kernel: Kernel) -> None:
    request = send(kernel, "nobody", "execute_request", code="1", silent=False)
    content = reply_to(kernel, request)["content"]
    assert (content["status"], content["ename"]) == ("error", "UnknownSubshellError")
    assert until_idle(kernel, request) == [("status", "busy"), ("status", "idle")]


def test_the_null_subshell_is_the_main_shell(kernel: Kernel) -> None:
    reply = reply_to(kernel, send(kernel, None, "execute_request", code="1", silent=False))
    assert reply["content"]["status"] == "ok"


def test_a_cell_that_awaits_a_comm_message_gets_it(kernel: Kernel) -> None:
    """K7: as widgets' answers come, without a subshell."""
    code = """
import asyncio
came = asyncio.get_running_loop().create_future()
def target(comm, message):
    came.set_result(message['content']['data'])
get_ipython().kernel.comm_manager.register_target('answer', target)
print('waiting')
await came
"""
    cell = kernel.client.execute(code)
    kernel.next_output(lambda message: is_text_of(message, cell))
    send(kernel, None, "comm_open", comm_id="c9", target_name="answer", data={"n": 5})
    value = kernel.next_output(lambda message: message["msg_type"] == "execute_result")
    assert value["content"]["data"]["text/plain"] == "{'n': 5}"
    assert reply_to(kernel, cell)["content"]["status"] == "ok"
