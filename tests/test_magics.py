"""%%docker in an ordinary kernel, on a true server without a container (M1 to M5, M7, M8).

What the container has to do with it is in integration/test_magics.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pexpect
import pytest

from kernels import PATIENCE, Cell, Kernel, Message, OrdinaryKernel
from wire import Server


def environment(server: Server) -> dict[str, str]:
    return {"DOCKER_KERNEL_MODE": "attached", "DOCKER_KERNEL_PORT": str(server.port)}


@pytest.fixture(scope="module")
def kernel(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    with OrdinaryKernel(folder=folder, env=environment(server)) as running:
        assert running.run("%load_ext docker_kernel").status == "ok"
        # The first one may show its progress.
        assert docker(running, "pass").status == "ok"
        yield running


def docker(kernel: Kernel, code: str, options: str = "", **keys: Any) -> Cell:
    """Run a %%docker cell."""
    return kernel.run(f"%%docker {options}\n{code}", **keys)


def is_text(message: Message, text: str) -> bool:
    return bool(message["msg_type"] == "stream" and text in message["content"]["text"])


# ---- what a cell shows --------------------------------------------------------------------------


def test_streams_and_the_value(kernel: Kernel) -> None:
    """M1, O1."""
    cell = docker(kernel, "import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')\n6 * 7")
    # One text may come in two pieces.
    assert [kind for kind, _ in groupby(cell.kinds())] == [
        "status",
        "execute_input",
        "stream",
        "execute_result",
        "status",
    ]
    assert (cell.text(), cell.text("stderr"), cell.result) == ("a\nc\n", "b\n", "42")
    assert kernel.run("_").result == "42"
    assert docker(kernel, "7;").result is None


def test_it_runs_in_another_process(kernel: Kernel) -> None:
    inside = docker(kernel, "import os; os.getpid()").result
    assert kernel.run("import os; os.getpid()").result != inside


def test_text_streams(kernel: Kernel) -> None:
    """O2: shown while the cell runs."""
    docker(kernel, "import threading; gate = threading.Event()")

    def opens(message: Message) -> None:
        if is_text(message, "waiting"):
            Path(kernel.folder, "open").touch()

    gate = str(kernel.folder / "open")
    code = f"print('waiting', end='')\nimport os\nwhile not os.path.exists({gate!r}): pass"
    assert docker(kernel, code, during=opens).text() == "waiting"


def test_rich_output(kernel: Kernel) -> None:
    """K3: any MIME bundle, updates, clear_output."""
    code = """
from IPython.display import HTML, clear_output, display
display(HTML('<b>x</b>'), metadata={'text/html': {'isolated': True}})
handle = display('first', display_id='d1')
handle.update('second')
clear_output(wait=True)
HTML('<i>value</i>')
"""
    cell = docker(kernel, code)
    assert cell.kinds()[2:-1] == [
        "display_data",
        "display_data",
        "update_display_data",
        "clear_output",
        "execute_result",
    ]
    shown, _, updated, cleared, value = (message["content"] for message in cell.messages[2:-1])
    assert shown["data"]["text/html"] == "<b>x</b>"
    assert shown["metadata"] == {"text/html": {"isolated": True}}
    assert updated["transient"] == {"display_id": "d1"}
    assert updated["data"]["text/plain"] == "'second'"
    assert cleared == {"wait": True}
    assert value["data"]["text/html"] == "<i>value</i>"


def test_an_error_is_the_cells_own(kernel: Kernel) -> None:
    """M1: the container's traceback, without frames of ours; Run All stops."""
    cell = docker(kernel, "def divide():\n    return 1 / 0\ndivide()")
    assert cell.status == "error"
    assert cell.reply["content"]["ename"] == "ZeroDivisionError"
    assert cell.reply["content"]["evalue"] == "division by zero"
    assert "divide" in cell.error
    assert "docker_kernel" not in cell.error
    assert docker(kernel, "if").reply["content"]["ename"] == "SyntaxError"


def test_an_error_that_the_code_has_caught_and_shown(kernel: Kernel) -> None:
    code = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()\n'on'"
    cell = docker(kernel, code)
    assert (cell.status, cell.result) == ("ok", "'on'")
    assert "ZeroDivisionError" in cell.text("stderr")


def test_output_after_the_end(kernel: Kernel) -> None:
    """O9."""
    docker(
        kernel,
        "import threading\ngate = threading.Event()\n"
        "t = threading.Thread(target=lambda: (gate.wait(), print('late')))\nt.start()",
    )
    kernel.client.execute("%%docker\ngate.set()\nt.join()")
    kernel.next_output(lambda message: is_text(message, "late"))
    kernel.client.get_shell_msg(timeout=PATIENCE)


def test_much_output_arrives_whole(kernel: Kernel) -> None:
    cell = docker(kernel, "for i in range(200_000): print(i)")
    assert cell.text() == "".join(f"{i}\n" for i in range(200_000))


# ---- state and sessions -------------------------------------------------------------------------


def test_state_and_sessions(kernel: Kernel) -> None:
    """M2."""
    docker(kernel, "x = 1")
    docker(kernel, "x = 2", "--session other")
    assert docker(kernel, "x").result == "1"
    assert docker(kernel, "x", "-s other").result == "2"
    assert kernel.run("'x' in globals()").result == "False"
    table = str(kernel.run("%docker sessions"))
    assert "main" in table
    assert "other" in table


def test_restart_drops_the_variables_of_one_session(kernel: Kernel) -> None:
    """M5."""
    docker(kernel, "x = 1")
    docker(kernel, "x = 2", "--session other")
    assert "variables are gone" in kernel.run("%docker restart").text("stderr")
    assert docker(kernel, "x").reply["content"]["ename"] == "NameError"
    assert docker(kernel, "x", "--session other").result == "2"
    missing = kernel.run("%docker restart nobody")
    assert "there is no session 'nobody'" in missing.text("stderr")


def test_limits(kernel: Kernel) -> None:
    table = str(kernel.run("%docker limits"))
    assert "processes and threads" in table
    assert "whoever started the server" in table


# ---- options ------------------------------------------------------------------------------------


def test_shell_commands(kernel: Kernel) -> None:
    """M3."""
    cell = docker(kernel, "echo out; echo err >&2", "--shell")
    assert (cell.status, cell.text(), cell.text("stderr")) == ("ok", "out\n", "err\n")
    failed = docker(kernel, "exit 3", "--shell")
    assert failed.reply["content"]["ename"] == "CommandFailed"
    assert "status 3" in failed.error
    assert "Traceback" not in failed.error
    killed = docker(kernel, "kill -9 $$", "--shell")
    assert "signal 9" in killed.error


@pytest.mark.parametrize(
    ("options", "code"),
    [("", "import os\nprint(os.getcwd(), os.environ['A_B'])"), ("--shell", 'echo "$PWD $A_B"')],
)
def test_folder_and_environment(kernel: Kernel, options: str, code: str) -> None:
    """M3: for this cell alone."""
    cell = docker(kernel, code, f"{options} --cwd /tmp --env 'A_B=c d'")
    assert cell.text() == "/tmp c d\n"
    after = docker(kernel, "import os\n('A_B' in os.environ, os.getcwd() == '/tmp')")
    assert after.result == "(False, False)"


def test_a_timeout(kernel: Kernel) -> None:
    """M3, O7: and the variables stay."""
    docker(kernel, "kept = 1")
    cell = docker(kernel, "while True: pass", "--timeout 0.3")
    assert cell.reply["content"]["ename"] == "TimeoutError"
    assert docker(kernel, "kept").result == "1"
    assert "timeout" in docker(kernel, "sleep 60", "--shell -t 0.3").error


def test_output_into_variables(kernel: Kernel) -> None:
    """M4."""
    cell = docker(
        kernel, "import sys\nprint('o')\nprint('e', file=sys.stderr)\n5", "--out o --err e"
    )
    assert (cell.text(), cell.text("stderr"), cell.result) == ("", "", "5")
    assert kernel.run("o, e").result == "('o\\n', 'e\\n')"
    docker(kernel, "echo shell", "--shell -o o")
    assert kernel.run("o").result == "'shell\\n'"


def test_in_the_background(kernel: Kernel) -> None:
    gate = kernel.folder / "gate"
    code = (
        f"import os\nprint('begun')\nwhile not os.path.exists({str(gate)!r}): pass\nprint('over')"
    )
    assert "runs" in str(docker(kernel, code, "--background --session aside").result)
    assert kernel.run("job = _; job.done").result == "False"
    assert docker(kernel, "'not blocked'").result == "'not blocked'"
    gate.touch()
    assert kernel.run("job.wait(30)").result == "'ok'"
    assert kernel.run("job.stdout").result == "'begun\\nover\\n'"


def test_a_job_that_is_interrupted(kernel: Kernel) -> None:
    docker(kernel, "echo begun; sleep 60", "--shell --background --out job")
    kernel.run("while not job.stdout: pass")
    kernel.run("job.interrupt()")
    assert kernel.run("job.wait(30)").result == "'interrupt'"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%%docker --nope\n1", "unrecognized arguments"),
        ("%%docker --timeout soon\n1", "--timeout"),
        ("%%docker --timeout -1\n1", "--timeout"),
        ("%%docker --env X\n1", "NAME=VALUE"),
        ("%%docker --push a+b\n1", "not the name of a variable"),
        ("%%docker --push never_defined\n1", "never_defined is not defined here"),
        ("%%docker --shell --pull x\ntrue", "leave out --shell"),
        ("%docker nonsense", "there are status, sessions"),
        ("%docker stop it", "too much"),
        ("%docker connect", "HOST:PORT"),
        ("%docker connect here:there", "no port"),
        ("%pip_docker", "%pip_docker install"),
    ],
)
def test_wrong_lines(kernel: Kernel, line: str, words: str) -> None:
    cell = kernel.run(line)
    assert cell.status == "error"
    assert words in str(cell)
    assert docker(kernel, "1").result == "1"


def test_help(kernel: Kernel) -> None:
    """M5."""
    for name, word in [("%%docker?", "--background"), ("%docker?", "%docker reset")]:
        (payload,) = kernel.run(name).reply["content"]["payload"]
        assert word in payload["data"]["text/plain"]


# ---- the person ---------------------------------------------------------------------------------


def test_questions(kernel: Kernel) -> None:
    """C4."""
    asked = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return f"answer {len(asked)}"

    code = "import getpass\n[input('first? '), getpass.getpass('second? ')]"
    assert docker(kernel, code, answer=answer).result == "['answer 1', 'answer 2']"
    assert asked == ["first? ", "second? "]


def test_a_question_that_nobody_can_answer(kernel: Kernel) -> None:
    cell = docker(kernel, "input('? ')")
    assert cell.reply["content"]["ename"] == "StdinNotImplementedError"


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("while True: pass", "KeyboardInterrupt"),
        ("import time\ntime.sleep(60)", "KeyboardInterrupt"),
        ("!sleep 60", None),  # IPython passes Ctrl-C on, and goes on itself
    ],
)
def test_an_interrupt_of_the_hosts_cell(kernel: Kernel, code: str, ename: str | None) -> None:
    """M7: and the variables stay."""
    docker(kernel, "kept = 1")

    def interrupt(message: Message) -> None:
        if is_text(message, "running"):
            kernel.manager.interrupt_kernel()

    cell = docker(kernel, f"print('running')\n{code}", during=interrupt)
    assert cell.reply["content"].get("ename") in (ename, "KeyboardInterrupt")
    assert docker(kernel, "kept").result == "1"


def test_an_interrupt_while_a_question_waits(kernel: Kernel) -> None:
    def interrupt(_prompt: str) -> str:
        kernel.manager.interrupt_kernel()
        return ""

    cell = docker(kernel, "input('? ')", answer=interrupt)
    assert cell.reply["content"]["ename"] == "KeyboardInterrupt"
    assert docker(kernel, "1").result == "1"


def test_completion_is_the_sessions(kernel: Kernel) -> None:
    docker(kernel, "a_long_name_in_there = 1")
    cell = "%%docker\nx = 1\na_long_n"
    content = kernel.ask("complete", cell, len(cell))
    assert content["matches"] == ["a_long_name_in_there"]
    assert cell[content["cursor_start"] : content["cursor_end"]] == "a_long_n"
    first = "%%docker --sess"
    assert "--session" in kernel.ask("complete", f"{first}\n1", len(first))["matches"]


def test_pages_and_next_inputs(kernel: Kernel) -> None:
    (payload,) = docker(kernel, "len?").reply["content"]["payload"]
    assert "Return the number of items" in payload["data"]["text/plain"]
    (payload,) = docker(kernel, "get_ipython().set_next_input('x = 5')").reply["content"]["payload"]
    assert payload["text"] == "%%docker\nx = 5"  # not for this machine's Python


# ---- widgets ------------------------------------------------------------------------------------

ECHO = """
from comm import create_comm
twin = create_comm('jupyter.widget', data={'n': 0}, buffers=[b'\\x00\\xff'])
def answer(message):
    print('called')
    twin.send({'echo': message['content']['data']}, buffers=message['buffers'])
twin.on_msg(answer)
"""


def test_widgets_talk_both_ways(kernel: Kernel) -> None:
    """K7."""
    opened = next(m for m in docker(kernel, ECHO).messages if m["msg_type"] == "comm_open")
    assert opened["content"]["target_name"] == "jupyter.widget"
    assert opened["content"]["data"] == {"n": 0}
    assert [bytes(buffer) for buffer in opened["buffers"]] == [b"\0\xff"]
    name = opened["content"]["comm_id"]
    assert name in kernel.ask("comm_info")["comms"]
    channel = kernel.client.shell_channel
    sent = channel.session.send(
        channel.socket, "comm_msg", {"comm_id": name, "data": {"n": 1}}, buffers=[b"\1\2"]
    )
    printed = kernel.next_output(lambda message: is_text(message, "called"))
    assert printed["parent_header"]["msg_id"] == sent["header"]["msg_id"]
    said = kernel.next_output(lambda message: message["msg_type"] == "comm_msg")
    assert said["content"]["data"] == {"echo": {"n": 1}}
    assert [bytes(buffer) for buffer in said["buffers"]] == [b"\1\2"]
    docker(kernel, "twin.close()")
    assert kernel.ask("comm_info")["comms"] == {}


# ---- the server ---------------------------------------------------------------------------------


def test_a_server_that_is_not_there(free_port: int, tmp_path: Path) -> None:
    with OrdinaryKernel(
        folder=tmp_path,
        env={"DOCKER_KERNEL_MODE": "attached", "DOCKER_KERNEL_PORT": f"{free_port}"},
    ) as kernel:
        kernel.run("%load_ext docker_kernel")
        cell = docker(kernel, "1")
        assert cell.reply["content"]["ename"] == "ServerNotThere"
        assert "To mend it" in cell.error
        assert "Traceback" not in cell.error
        with Server(tmp_path, port=free_port):
            assert docker(kernel, "1").result == "1"


def test_another_server_is_connected(server: Server, kernel: Kernel, tmp_path: Path) -> None:
    """M5."""
    with Server(tmp_path) as other:
        cell = kernel.run(f"%docker connect 127.0.0.1:{other.port}")
        assert str(other.port) in cell.text("stderr")
        assert docker(kernel, "import os; os.getcwd()").result == repr(str(tmp_path))
        assert str(other.port) in str(kernel.run("%docker status"))
        kernel.run(f"%docker connect 127.0.0.1:{server.port}")
    assert docker(kernel, "1").result == "1"


def test_a_session_that_dies(kernel: Kernel) -> None:
    """C5."""
    cell = docker(kernel, "import os; os._exit(3)")
    assert cell.reply["content"]["ename"] == "SessionDied"
    assert "status 3" in cell.error
    after = docker(kernel, "1")
    assert after.result == "1"
    assert "Variables were reset" in after.text("stderr")


def test_in_a_terminal(server: Server, tmp_path: Path) -> None:
    """M8: plain ipython, with questions and Ctrl-C."""
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--colors=NoColor"]
    environ = {**environment(server), "IPYTHONDIR": str(tmp_path), "TERM": "dumb", "PATH": "/bin"}
    program = pexpect.spawn(
        command[0], command[1:], env=environ, encoding="utf-8", timeout=PATIENCE
    )
    try:
        program.expect(r"In \[1\]")
        program.sendline("%load_ext docker_kernel")
        program.expect(r"In \[2\]")
        program.sendline(
            "get_ipython().run_cell_magic("
            "'docker', '', 'print(6 * 7)\\ninput(\"\\\\x1b]0;t\\\\x07name? \")')"
        )
        program.expect("42\r\n")
        program.expect(r"name\? ")
        assert program.before == ""  # the terminal gets no title
        program.sendline("me")
        program.expect("Out.*'me'")
        program.sendline("get_ipython().run_cell_magic('docker', '', 'print(\"on\")\\nwhile 1: 1')")
        program.expect("on\r\n")
        program.sendintr()
        program.expect("KeyboardInterrupt")
        program.expect(r"In \[4\]")
        program.sendline("%docker")
        program.expect(f":{server.port}")
        program.sendline("exit")
        program.expect(pexpect.EOF)
    finally:
        program.close(force=True)


def test_unloading_takes_the_magics_away(server: Server, tmp_path: Path) -> None:
    with OrdinaryKernel(folder=tmp_path, env=environment(server)) as kernel:
        kernel.run("%load_ext docker_kernel")
        docker(kernel, "1")
        assert kernel.run("%reload_ext docker_kernel").status == "ok"
        assert docker(kernel, "2").result == "2"
        assert kernel.run("%unload_ext docker_kernel").status == "ok"
        assert "not found" in str(docker(kernel, "1"))


# ---- files --------------------------------------------------------------------------------------


def test_files_are_put_and_got(kernel: Kernel) -> None:
    data = bytes(range(256)) * 1000
    (kernel.folder / "some data.bin").write_bytes(data)
    said = kernel.run("%docker put 'some data.bin' deep/copy.bin").text("stderr")
    assert "deep/copy.bin" in said
    assert docker(kernel, "len(open('deep/copy.bin', 'rb').read())").result == str(len(data))
    kernel.run("%docker get deep/copy.bin back.bin")
    assert (kernel.folder / "back.bin").read_bytes() == data


@pytest.mark.parametrize("line", ["put nothing-here", "get nothing-there", "put", "get"])
def test_files_that_are_not_there(kernel: Kernel, line: str) -> None:
    cell = kernel.run(f"%docker {line}")
    assert cell.status == "error"
    assert "Traceback" not in cell.error


# ---- variables ----------------------------------------------------------------------------------


def test_variables_are_pushed_and_pulled(kernel: Kernel) -> None:
    """M4: by value, and without loss."""
    kernel.run(
        "import datetime, decimal\n"
        "a = {1: [2.5, float('nan')], 'é': (b'\\x00\\xff', {3}, None), True: 10 ** 50}\n"
        "b = [datetime.date(2026, 1, 2), decimal.Decimal('0.1'), 1 - 2j]"
    )
    cell = docker(kernel, "a['é'], b[1], type(b[2]).__name__", "--push a,b --pull a")
    assert cell.result == "((b'\\x00\\xff', {3}, None), Decimal('0.1'), 'complex')"
    assert kernel.run("a[True], list(a)").result == f"({10**50}, [1, 'é'])"
    docker(kernel, "c = 'from there'\nd = bytearray(5_000_000)", "--pull c,d")
    assert (
        kernel.run("c, len(d), type(d).__name__").result == "('from there', 5000000, 'bytearray')"
    )


def test_tables_are_pushed_and_pulled(kernel: Kernel) -> None:
    """M4: numpy's arrays and pandas' tables."""
    kernel.run(
        "import numpy as np, pandas as pd\n"
        "grid = np.arange(6, dtype='>i2').reshape(2, 3)\n"
        "index = pd.Index([5, 6], name='i')\n"
        "table = pd.DataFrame({'n': [1, None], 's': ['x', 'ü']}, index=index)\n"
        "table['c'] = table['s'].astype('category')"
    )
    cell = docker(kernel, "grid *= 2\ntable.shape", "--push grid,table --pull grid,table")
    assert cell.result == "(2, 3)"
    assert kernel.run("grid.dtype.str, grid.tolist()").result == "('>i2', [[0, 2, 4], [6, 8, 10]])"
    described = "str(table.dtypes['c']), table.index.name, str(table['n'].tolist())"
    assert kernel.run(described).result == "('category', 'i', '[1.0, nan]')"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--push thing", "1", "thing"),
        ("--pull thing", "thing = open('/dev/null')", "thing"),
        ("--pull missing_there", "1", "missing_there"),
    ],
)
def test_what_cannot_be_moved_is_named(kernel: Kernel, options: str, code: str, words: str) -> None:
    """M4: with the reason, and without frames of ours."""
    kernel.run("thing = open('/dev/null')")
    cell = docker(kernel, code, options)
    assert cell.status == "error"
    assert words in cell.error
    assert "Traceback" not in cell.error
    assert docker(kernel, "1").result == "1"
