"""The kernel on a true server without a container: what a frontend sees.

What the container has to do with it is in integration/test_kernel.py.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import peer
from kernels import PATIENCE, Kernel, Message
from proxy import Proxy
from system import wait_until
from wire import Server


@pytest.fixture(scope="module")
def kernel(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    with Kernel("--mode=attached", f"--port={server.port}", folder=folder) as running:
        yield running


def is_text(message: Message, text: str) -> bool:
    return bool(message["msg_type"] == "stream" and text in message["content"]["text"])


def is_idle(message: Message, after: str) -> bool:
    idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
    return bool(idle and message["parent_header"].get("msg_type") == after)


# ---- what the kernel is ------------------------------------------------------------------------


def test_kernel_info(kernel: Kernel) -> None:
    kernel.run("1")
    content = kernel.ask("kernel_info")
    assert content["language_info"]["name"] == "python"
    assert content["language_info"]["file_extension"] == ".py"
    assert content["implementation"] == "docker-kernel"
    assert content["supported_features"] == ["kernel subshells"]
    assert "attached to the server" in content["banner"]


def test_nothing_of_the_debugger_is_imported(kernel: Kernel) -> None:
    maps = Path(f"/proc/{kernel.pid}/maps").read_text()
    assert "debugpy" not in maps


# ---- cells -------------------------------------------------------------------------------------


def test_state_and_results(kernel: Kernel) -> None:
    assert kernel.run("x = 20").result is None
    assert kernel.run("x + 1").result == "21"
    assert kernel.run("x + 1;").result is None


def test_messages_of_a_cell_in_order(kernel: Kernel) -> None:
    cell = kernel.run("import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')\n1")
    kinds = ["status", "execute_input", "stream", "stream", "stream", "execute_result", "status"]
    assert cell.kinds() == kinds
    texts = [m["content"] for m in cell.messages if m["msg_type"] == "stream"]
    assert [(part["name"], part["text"]) for part in texts] == [
        ("stdout", "a\n"),
        ("stderr", "b\n"),
        ("stdout", "c\n"),
    ]
    assert {m["parent_header"]["msg_id"] for m in cell.messages} == {
        cell.reply["parent_header"]["msg_id"]
    }


def test_counts_agree(kernel: Kernel) -> None:
    first, second = kernel.run("1"), kernel.run("2")
    counts = []
    for cell in (first, second):
        shown = next(m for m in cell.messages if m["msg_type"] == "execute_input")
        value = next(m for m in cell.messages if m["msg_type"] == "execute_result")
        counts.append(cell.reply["content"]["execution_count"])
        assert shown["content"]["execution_count"] == counts[-1]
        assert value["content"]["execution_count"] == counts[-1]
    assert counts[1] == counts[0] + 1


def test_a_silent_cell_says_and_counts_nothing(kernel: Kernel) -> None:
    before = kernel.run("1").reply["content"]["execution_count"]
    cell = kernel.run("kept = 7", silent=True)
    assert cell.kinds() == ["status", "status"]
    assert kernel.run("kept").result == "7"
    assert kernel.run("1").reply["content"]["execution_count"] == before + 2


def test_a_request_that_makes_no_sense_gets_an_answer(kernel: Kernel) -> None:
    channel = kernel.client.shell_channel
    for kind, content in [
        ("execute_request", {"code": 5, "silent": False}),
        ("complete_request", {"code": 5, "cursor_pos": 0}),
    ]:
        message = kernel.client.session.msg(kind, content)
        channel.send(message)
        reply = kernel.client.get_shell_msg(timeout=30)
        assert reply["parent_header"]["msg_id"] == message["header"]["msg_id"]
        assert reply["content"]["status"] == "error"
        assert "must be str" in reply["content"]["evalue"]
    assert kernel.run("'alive'").result == "'alive'"


def test_an_error_and_the_next_cell(kernel: Kernel) -> None:
    cell = kernel.run("def f():\n    return 1 / 0\nf()")
    assert cell.status == "error"
    assert cell.reply["content"]["ename"] == "ZeroDivisionError"
    assert "return" in cell.error
    assert "docker_kernel" not in cell.error
    assert kernel.run("'alive'").result == "'alive'"


def test_a_syntax_error(kernel: Kernel) -> None:
    cell = kernel.run("for in x:")
    assert cell.reply["content"]["ename"] == "SyntaxError"


def test_stop_on_error_aborts_what_is_queued(kernel: Kernel) -> None:
    gate = kernel.folder / "gate"
    failing = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n1 / 0"
    ids = [kernel.client.execute(code) for code in (failing, "2", "3")]
    kernel.ask("complete", "pri", 3)  # sent behind them, and answered while the first one runs
    gate.touch()
    statuses: dict[str, str] = {}
    while len(statuses) < 3:
        reply = kernel.client.get_shell_msg(timeout=30)
        statuses[reply["parent_header"]["msg_id"]] = reply["content"]["status"]
    assert [statuses[name] for name in ids] == ["error", "aborted", "aborted"]
    assert kernel.run("4").result == "4"


def test_user_expressions(kernel: Kernel) -> None:
    cell = kernel.run("x = 3", user_expressions={"good": "x * 2", "bad": "no_such_name"})
    found = cell.reply["content"]["user_expressions"]
    assert found["good"]["data"]["text/plain"] == "6"
    assert found["bad"]["status"] == "error"


def test_displays_with_metadata_and_updates(kernel: Kernel) -> None:
    cell = kernel.run(
        "from IPython.display import display, clear_output\n"
        "h = display({'text/plain': 'a'}, raw=True, metadata={'k': 1}, display_id='d')\n"
        "h.update({'text/plain': 'b'}, raw=True)\n"
        "clear_output(wait=True)"
    )
    shown, updated, cleared = cell.messages[2:-1]
    assert shown["msg_type"] == "display_data"
    assert shown["content"]["metadata"] == {"k": 1}
    assert shown["content"]["transient"] == {"display_id": "d"}
    assert updated["msg_type"] == "update_display_data"
    assert updated["content"]["transient"] == {"display_id": "d"}
    assert (cleared["msg_type"], cleared["content"]) == ("clear_output", {"wait": True})


def test_output_is_streamed(kernel: Kernel) -> None:
    """Without a newline, while the cell still runs: it ends when the test makes a file."""
    flag = kernel.folder / "go on"
    seen: list[str] = []

    def watch(message: Message) -> None:
        if is_text(message, "."):
            seen.append(message["content"]["text"])
            flag.touch()

    cell = kernel.run(
        "import os, time\n"
        "print('.', end='')\n"
        f"while not os.path.exists({str(flag)!r}):\n"
        "    time.sleep(0.01)\n",
        during=watch,
    )
    assert (cell.status, seen) == ("ok", ["."])


def test_many_lines_are_joined_and_none_is_lost(kernel: Kernel) -> None:
    cell = kernel.run("for i in range(20000): print(i)")
    assert cell.text() == "".join(f"{i}\n" for i in range(20000))
    assert cell.kinds().count("stream") < 500


def test_a_threads_output_finds_its_own_cell(kernel: Kernel) -> None:
    flag = kernel.folder / "thread, go on"
    cell = kernel.run(
        "import os, threading, time\n"
        "def later():\n"
        f"    while not os.path.exists({str(flag)!r}):\n"
        "        time.sleep(0.01)\n"
        "    print('from the thread')\n"
        "threading.Thread(target=later).start()"
    )
    other = kernel.run("'another cell'")
    flag.touch()
    late = kernel.next_output(lambda message: is_text(message, "from the thread"))
    assert late["parent_header"]["msg_id"] == cell.reply["parent_header"]["msg_id"]
    assert late["parent_header"]["msg_id"] != other.reply["parent_header"]["msg_id"]


# ---- input -------------------------------------------------------------------------------------


def test_input(kernel: Kernel) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "Ada"

    cell = kernel.run("print('first')\nname = input('name? ')\nname", answer=answer)
    assert (asked, cell.result) == (["name? "], "'Ada'")
    assert (
        kernel.run("import getpass\ngetpass.getpass('pw ')", answer=lambda _: "s").result == "'s'"
    )


def test_input_where_nobody_can_answer(kernel: Kernel) -> None:
    cell = kernel.run("input()")
    assert cell.reply["content"]["ename"] == "StdinNotImplementedError"


def test_an_interrupt_ends_input(kernel: Kernel) -> None:
    begin = time.monotonic()
    message_id = kernel.client.execute("input('? ')", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=30)
    kernel.manager.interrupt_kernel()
    reply = kernel.client.get_shell_msg(timeout=30)
    assert reply["parent_header"]["msg_id"] == message_id
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert time.monotonic() - begin < 10
    # The answer that comes too late is nobody's, not the next question's.
    kernel.client.input("too late")
    cell = kernel.run("input()", answer=lambda _: "right")
    assert cell.result == "'right'", str(cell)


# ---- interrupting ------------------------------------------------------------------------------


@pytest.mark.parametrize("by_signal", [False, True])
def test_interrupt(kernel: Kernel, by_signal: bool) -> None:
    kernel.run("kept = 'kept'")

    def interrupt(message: Message) -> None:
        if is_text(message, "running"):
            if by_signal:
                os.kill(kernel.pid, signal.SIGINT)
            else:
                kernel.manager.interrupt_kernel()

    begin = time.monotonic()
    cell = kernel.run("import time\nprint('running')\ntime.sleep(60)", during=interrupt)
    assert cell.reply["content"]["ename"] == "KeyboardInterrupt"
    assert time.monotonic() - begin < 10
    assert kernel.run("kept").result == "'kept'"


def test_an_interrupt_with_nothing_to_interrupt(kernel: Kernel) -> None:
    kernel.manager.interrupt_kernel()
    kernel.next_output(lambda message: is_idle(message, "interrupt_request"))
    cell = kernel.run("'alive'")
    assert cell.result == "'alive'", str(cell)


# ---- when the session's process ends -----------------------------------------------------------


def test_a_dead_worker(kernel: Kernel) -> None:
    cell = kernel.run("import os; os._exit(3)")
    assert cell.status == "error"
    assert "status 3" in cell.error
    after = kernel.run("1")
    assert after.result == "1"
    assert "reset" in after.text("stderr")
    assert after.reply["content"]["execution_count"] == 1
    assert kernel.run("2").text("stderr") == ""


def test_a_worker_that_dies_between_two_cells(kernel: Kernel) -> None:
    flag = kernel.folder / "worker, die"
    kernel.run(
        "import os, threading, time\n"
        "def later():\n"
        f"    while not os.path.exists({str(flag)!r}):\n"
        "        time.sleep(0.01)\n"
        "    os._exit(5)\n"
        "threading.Thread(target=later).start()"
    )
    pid = int(str(kernel.run("os.getpid()").result))
    flag.touch()
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 10)
    cell = kernel.run("1")
    assert cell.result == "1"
    assert "status 5" in cell.text("stderr")
    assert cell.reply["content"]["execution_count"] == 1


# ---- questions about code ----------------------------------------------------------------------


def test_complete(kernel: Kernel) -> None:
    kernel.run("a_long_name = 1")
    content = kernel.ask("complete", "a_lo", 4)
    assert content["status"] == "ok"
    assert "a_long_name" in content["matches"]
    assert (content["cursor_start"], content["cursor_end"]) == (0, 4)


def test_inspect(kernel: Kernel) -> None:
    content = kernel.ask("inspect", "print", 3)
    assert content["found"]
    assert "file" in content["data"]["text/plain"]
    assert not kernel.ask("inspect", "no_such_name", 3)["found"]


@pytest.mark.parametrize(
    ("code", "status"), [("1", "complete"), ("for i in x:", "incomplete"), ("1 +* 2", "invalid")]
)
def test_is_complete(kernel: Kernel, code: str, status: str) -> None:
    assert kernel.ask("is_complete", code)["status"] == status


def test_history(kernel: Kernel) -> None:
    kernel.run("'an unlikely cell'")
    content = kernel.ask("history", hist_access_type="tail", n=5)
    assert content["status"] == "ok"
    assert any("an unlikely cell" in str(line) for _, _, line in content["history"])


# ---- comms -------------------------------------------------------------------------------------

ECHO = """
def target(comm, message):
    @comm.on_msg
    def answer(message):
        comm.send({'echo': message['content']['data']}, buffers=message['buffers'])
get_ipython().kernel.comm_manager.register_target('echo', target)
"""


def test_comms_carry_binary_buffers_both_ways(kernel: Kernel) -> None:
    assert kernel.run(ECHO).status == "ok"
    send_comm(kernel, "comm_open", {"comm_id": "c1", "target_name": "echo", "data": {}})
    assert "c1" in kernel.ask("comm_info", "echo")["comms"]
    send_comm(kernel, "comm_msg", {"comm_id": "c1", "data": {"n": 1}}, [b"\0\xff\n"])
    said = kernel.next_output(lambda message: message["msg_type"] == "comm_msg")
    assert said["content"] == {"comm_id": "c1", "data": {"echo": {"n": 1}}}
    assert [bytes(buffer) for buffer in said["buffers"]] == [b"\0\xff\n"]
    send_comm(kernel, "comm_close", {"comm_id": "c1", "data": {}})
    assert kernel.ask("comm_info", "echo")["comms"] == {}


@pytest.mark.parametrize("waits", ["time.sleep(0.01)", "await asyncio.sleep(0.01)"])
def test_a_comm_message_beside_a_cell_is_told_to_be_done(kernel: Kernel, waits: str) -> None:
    """K7: a widget sends no second change before the kernel is idle after the first one."""
    kernel.run(
        "import asyncio, os, time\n"
        "def opened(comm, message): pass\n"
        "get_ipython().kernel.comm_manager.register_target('beside', opened)"
    )
    flag = kernel.folder / f"comm, go on, {waits}"
    client = kernel.client

    def state(wanted: str, request: str) -> Callable[[Message], bool]:
        return lambda message: (
            message["content"].get("execution_state") == wanted
            and message["parent_header"]["msg_id"] == request
        )

    # The message comes right behind the cell, which may not have begun yet.
    cell = client.execute(f"while not os.path.exists({str(flag)!r}): {waits}")
    content = {"comm_id": f"beside, {waits}", "target_name": "beside", "data": {}}
    message = client.session.msg("comm_open", content)
    client.shell_channel.send(message)
    kernel.next_output(state("busy", message["header"]["msg_id"]))
    if "await" not in waits:  # a cell that awaits lets it through
        flag.touch()
    kernel.next_output(state("idle", message["header"]["msg_id"]))
    flag.touch()
    reply = client.get_shell_msg(timeout=30)
    assert (reply["parent_header"]["msg_id"], reply["content"]["status"]) == (cell, "ok")
    assert kernel.run("'alive'").result == "'alive'"


def test_the_kernel_is_busy_again_after_a_comm_message_beside_a_cell(kernel: Kernel) -> None:
    """What a frontend shows is the last that was said, whatever it was said of."""
    flag = kernel.folder / "busy again, go on"
    client = kernel.client
    cell = client.execute(
        f"import asyncio, os\nwhile not os.path.exists({str(flag)!r}): await asyncio.sleep(0.01)"
    )
    kernel.next_output(lambda message: message["msg_type"] == "execute_input")
    client.shell_channel.send(client.session.msg("comm_close", {"comm_id": "none", "data": {}}))
    kernel.next_output(lambda message: is_idle(message, "comm_close"))
    again = kernel.next_output(lambda message: message["msg_type"] == "status")
    flag.touch()
    assert again["content"]["execution_state"] == "busy"
    assert again["parent_header"]["msg_id"] == cell
    client.get_shell_msg(timeout=30)
    assert kernel.run("'alive'").result == "'alive'"


def send_comm(
    kernel: Kernel, kind: str, content: dict[str, Any], buffers: list[bytes] | None = None
) -> None:
    channel = kernel.client.shell_channel
    channel.session.send(channel.socket, kind, content, buffers=buffers)


# ---- restart -----------------------------------------------------------------------------------


def test_restart_drops_variables(kernel: Kernel) -> None:
    kernel.run("gone = 1")
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    cell = kernel.run("'gone' in globals()")
    assert cell.result == "False"
    assert cell.reply["content"]["execution_count"] == 1


def test_a_shutdown_waits_for_nothing(tmp_path: Path) -> None:
    # The shutdown's last message and the end of the iopub thread raced: some of many hung.
    for _ in range(10):
        with Kernel("--memory=lots", folder=tmp_path) as kernel:
            kernel.client.shutdown()
            assert wait_until(kernel.has_ended, 30)


# ---- when there is no server -------------------------------------------------------------------


def test_each_cell_tries_again(tmp_path: Path, free_port: int) -> None:
    with Kernel("--mode=attached", f"--port={free_port}", folder=tmp_path) as kernel:
        for _ in range(2):
            cell = kernel.run("1")
            assert cell.reply["content"]["ename"] == "ServerNotThere"
            assert str(free_port) in cell.error
            assert "To mend it" in cell.error
        assert kernel.ask("complete", "a", 1)["status"] == "error"
        assert kernel.ask("is_complete", "a")["status"] == "unknown"
        with Server(tmp_path / "connection", port=free_port):
            assert kernel.run("2").result == "2"
        lost = kernel.run("3")
        assert lost.status == "error"
        with Server(tmp_path / "connection", port=free_port):
            silent = kernel.run("4", silent=True)
            assert (silent.status, silent.text("stderr")) == ("ok", "")
            again = kernel.run("4")
            assert again.result == "4"
            # What the silent cell could not show wasn't lost.
            assert "reset" in again.text("stderr")


@pytest.mark.parametrize(
    ("how", "ename"), [(signal.SIGKILL, "ConnectionLost"), (signal.SIGTERM, "SandboxClosed")]
)
def test_a_server_that_ends_under_a_cell(how: signal.Signals, ename: str, tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        port = f"--port={server.port}"
        with Kernel("--mode=attached", port, "--lease=5", folder=tmp_path) as kernel:

            def end(message: Message) -> None:
                if is_text(message, "running"):
                    server.process.send_signal(how)

            cell = kernel.run("import time\nprint('running')\ntime.sleep(60)", during=end)
            assert cell.reply["content"]["ename"] == ename
            assert kernel.run("1").status == "error"


def test_a_cell_over_a_connection_that_is_lost(server: Server, tmp_path: Path) -> None:
    """P12: everything is shown, in order; a question is asked once and its answer arrives."""
    with (
        Proxy(server.port) as proxy,
        Kernel("--mode=attached", f"--port={proxy.port}", folder=tmp_path) as kernel,
    ):

        def cut(message: Message) -> None:
            if message["msg_type"] == "stream" and "5" in message["content"]["text"]:
                proxy.cut()

        code = "import time\nfor n in range(20): print(n); time.sleep(0.02)\nn"
        cell = kernel.run(code, during=cut)
        assert (cell.text(), cell.text("stderr"), cell.result) == (
            "".join(f"{n}\n" for n in range(20)),
            "",
            "19",
        )

        def answer(_prompt: str) -> str:
            proxy.cut()
            return "yes"

        assert kernel.run("input('? ')", answer=answer).result == "'yes'"
        assert proxy.connections >= 3


def test_a_connection_that_stays_away(server: Server, tmp_path: Path) -> None:
    """The person is told, can give up, and gets a clear error from the next cell; nothing is lost
    that the session has."""
    with (
        Proxy(server.port) as proxy,
        Kernel("--mode=attached", f"--port={proxy.port}", folder=tmp_path) as kernel,
    ):
        assert kernel.run("n = 1").status == "ok"

        def lose(message: Message) -> None:
            if is_text(message, "running"):
                proxy.refuse()
                proxy.cut()
            if is_text(message, "Interrupt to give up"):
                kernel.manager.interrupt_kernel()

        given_up = kernel.run("print('running')\nimport time\ntime.sleep(1)\nn = 2", during=lose)
        assert given_up.reply["content"]["ename"] == "ConnectionLost"
        assert "you interrupted" in given_up.error
        away = kernel.run("n")
        assert away.status == "error"
        assert str(proxy.port) in away.error
        proxy.refuse(False)
        assert kernel.run("n").result == "2"


def test_a_new_cell_does_not_wait_long_for_a_connection_that_is_away(
    server: Server, tmp_path: Path
) -> None:
    """It isn't sent, and so nothing of it is in doubt."""
    with (
        Proxy(server.port) as proxy,
        Kernel("--mode=attached", f"--port={proxy.port}", folder=tmp_path) as kernel,
    ):
        assert kernel.run("n = 1").status == "ok"
        proxy.refuse()
        proxy.cut()
        assert wait_until(lambda: proxy.connections > 1, PATIENCE)
        away = kernel.run("n += 1")
        assert away.reply["content"]["ename"] == "ConnectionLost"
        assert "comes back by itself" in away.error
        proxy.refuse(False)
        assert kernel.run("n").result == "1"


def test_a_wrong_setting_is_an_error_of_each_cell(tmp_path: Path) -> None:
    with Kernel("--memory=lots", folder=tmp_path) as kernel:
        cell = kernel.run("1")
        assert cell.reply["content"]["ename"] == "SettingError"
        assert "lots" in cell.error
        assert kernel.run("1").status == "error"


def test_an_interrupt_ends_the_wait_for_the_start(tmp_path: Path) -> None:
    # Something that takes the connection and says nothing: the start hangs for seconds.
    with (
        peer.listening(lambda _: None) as port,
        Kernel("--mode=attached", f"--port={port}", folder=tmp_path) as kernel,
    ):

        def interrupt(message: Message) -> None:
            if message["msg_type"] == "execute_input":
                kernel.manager.interrupt_kernel()

        cell = kernel.run("1", during=interrupt)
        assert cell.reply["content"]["ename"] == "KeyboardInterrupt"


def test_a_slow_starts_progress_is_shown_and_taken_away(server: Server, tmp_path: Path) -> None:
    """E4, K8: a notebook that is kept has no word of it."""
    seen = threading.Event()

    def forward(near: socket.socket) -> None:
        seen.wait(PATIENCE)
        with socket.create_connection(("127.0.0.1", server.port)) as far:
            ends = {near: far, far: near}
            while data := [(end, end.recv(1 << 16)) for end in select.select([*ends], [], [])[0]]:
                if any(not piece for _, piece in data):
                    return
                for end, piece in data:
                    ends[end].sendall(piece)

    def look(message: Message) -> None:
        if is_text(message, "connecting to the server"):
            seen.set()

    with (
        peer.listening(forward) as port,
        Kernel("--mode=attached", f"--port={port}", folder=tmp_path) as kernel,
    ):
        cell = kernel.run("print('mine')", during=look)
        kinds = [kind for kind in cell.kinds() if kind in ("stream", "clear_output")]
        assert kinds == ["stream", "clear_output", "stream"]
        assert cell.text() == "mine\n"


# ---- the host ----------------------------------------------------------------------------------

SHADOWS = ("json", "docker", "zmq", "ipykernel", "IPython", "docker_kernel", "asyncio", "platform")


def test_nothing_in_the_notebooks_folder_is_imported_on_the_host(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """E10: a cell may have written it."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'escaped')!r}, 'a').write('x')")
    with (
        # A server of its own: the other tests' kernel has a session of the same name.
        Server(tmp_path_factory.mktemp("work")) as server,
        Kernel("--mode=attached", f"--port={server.port}", folder=tmp_path) as kernel,
    ):
        assert kernel.run("6 * 7").result == "42"
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=60)
        assert kernel.run("6 * 7").result == "42"
    assert not (tmp_path / "escaped").exists()


# ---- what comes from code that isn't trusted ----------------------------------------------------


def test_a_question_takes_the_place_of_one_that_was_interrupted(kernel: Kernel) -> None:
    """C4."""
    code = """
while True:
    try:
        value = input('? ')
        break
    except KeyboardInterrupt:
        print('again')
value
"""
    asked = []

    def answer(prompt: str) -> str | None:
        asked.append(prompt)
        if len(asked) == 1:
            kernel.manager.interrupt_kernel()
            return None
        return "here"

    cell = kernel.run(code, answer=answer)
    assert (cell.text(), cell.result) == ("again\n", "'here'")
    assert kernel.run("input('next? ')", answer=lambda _: "yes").result == "'yes'"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("print(chr(0xd800))", "\ufffd"),
        ("raise ValueError(chr(0xdfff))", "\ufffd"),
        ("chr(0xd83d) + chr(0xde00)", "\\ud83d"),
        ("print(chr(0xd83d) + chr(0xde00))", "\U0001f600"),
        ("display({'text/plain': chr(0xd800)}, raw=True)", "\ufffd"),
    ],
)
def test_lone_surrogates(kernel: Kernel, code: str, shown: str) -> None:
    """O3: UTF-8 can't write them; each becomes a replacement character."""
    assert shown in str(kernel.run(code))
    assert kernel.run("1").result == "1"


@pytest.mark.parametrize(
    ("what", "arguments"),
    [("complete", ["pri", 10]), ("inspect", ["pri", -5]), ("complete", ["", -1])],
)
def test_a_question_that_makes_no_sense_gets_a_reply(
    kernel: Kernel, what: str, arguments: list[Any]
) -> None:
    assert kernel.ask(what, *arguments)["status"] in ("ok", "error")
    assert kernel.run("1").result == "1"


FORGE = """
import json, os, socket, stat
wires = [fd for fd in range(3, 50) if os.path.exists(f'/proc/self/fd/{fd}')
         and stat.S_ISSOCK(os.fstat(fd).st_mode)]
name = get_ipython().kernel.get_parent()['header']['msg_id']
for line in LINES:
    for fd in wires:
        try:
            wire = socket.socket(fileno=os.dup(fd))
            if wire.type == socket.SOCK_STREAM:
                wire.sendall(json.dumps({'id': name, **line}).encode() + b'\\n')
            wire.close()
        except OSError:
            pass
"""


@pytest.mark.parametrize(
    "line",
    [
        {"type": "final", "status": 0},
        {"type": "final", "status": 0, "result": "abc"},
        {"type": "final", "status": 0, "result": {"status": "ok", "execution_count": "x"}},
        {"type": "final", "status": 1, "reason": "error", "result": 5},
    ],
)
def test_a_forged_final_gets_a_reply(kernel: Kernel, line: dict[str, Any]) -> None:
    """E10: the worker's code can write to its wire."""
    cell = kernel.run(FORGE.replace("LINES", repr([line])))
    assert cell.status == "error"
    kernel.run("1")
    assert kernel.run("1").result == "1"


def test_a_flood_of_forged_questions(kernel: Kernel) -> None:
    """E10: no thread for each, and no prompt after the cell."""
    before = len(list(Path(f"/proc/{kernel.pid}/task").iterdir()))
    lines = "[{'type': 'input_request', 'id': f'q{i}', 'prompt': 'x'} for i in range(3000)]"
    kernel.run(FORGE.replace("LINES", lines))
    assert len(list(Path(f"/proc/{kernel.pid}/task").iterdir())) < before + 20
    assert kernel.run("input('real? ')", answer=lambda _: "yes").result == "'yes'"
