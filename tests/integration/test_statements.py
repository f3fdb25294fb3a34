"""What is said of output (O), control (C) and sessions (K1, K11), each on a real container.

The messages themselves are held against ipykernel's in test_against_ipykernel.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.errors import ConnectionLost
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire
from kernels import PATIENCE, Kernel, Message
from system import wait_until

MANY_BYTES = 100_000_000
MEMORY_BYTES = 400 * 1024 * 1024
"""What the kernel's process may take while so much is printed; it begins with some 80 MB."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook's folder, of an ordinary user: the tests may run as root."""
    made = tmp_path_factory.mktemp("notebooks")
    os.chown(made, 1000, 1000)
    return made


@pytest.fixture(scope="module")
def kernel(image: str, folder: Path) -> Iterator[Kernel]:
    with Kernel(f"--image={image}", folder=folder) as running:
        running.run("")  # the first cell tells of the start
        yield running


@pytest.fixture(scope="module")
def sandbox(image: str, folder: Path) -> Iterator[Sandbox]:
    made = Sandbox(Settings(image=image, workspace=str(folder)))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Client:
    return sandbox.client()


class Ran:
    """A command of the container's, to its end."""

    def __init__(self, client: Client, command: str, **keys: Any) -> None:
        self.events: list[wire.Event] = []
        begin = time.monotonic()
        request = wire.Run(client.new_id(), command, **keys)
        self.final = client.request(request, self.events.append).result(PATIENCE)
        self.seconds = time.monotonic() - begin

    def text(self, stream: str) -> str:
        chunks = [event for event in self.events if isinstance(event, wire.Chunk)]
        return "".join(chunk.data for chunk in chunks if chunk.stream == stream)


def says(message: Message, text: str) -> bool:
    return bool(message["msg_type"] == "stream" and text in message["content"]["text"])


def when(text: str, act: Callable[[], Any]) -> Callable[[Message], None]:
    """Act once this text has been printed."""

    def look(message: Message) -> None:
        if says(message, text):
            act()

    return look


# ---- output -------------------------------------------------------------------------------------


def test_o1_streams_come_apart_and_in_order_with_displays(kernel: Kernel) -> None:
    """O1."""
    cell = kernel.run(
        "import sys\nprint('a')\nprint('b', file=sys.stderr)\ndisplay('c')\nprint('d')\n'e'"
    )
    shown = [
        m["content"].get("text") or m["content"]["data"]["text/plain"]
        for m in cell.messages
        if m["msg_type"] in ("stream", "display_data", "execute_result")
    ]
    assert shown == ["a\n", "b\n", "'c'", "d\n", "'e'"]


def test_o2_text_without_a_newline_streams(kernel: Kernel, folder: Path) -> None:
    """O2: it is seen while the cell runs, which ends when it was seen."""
    gate = folder / "seen"
    code = "import os\nprint('.', end='')\nwhile not os.path.exists('seen'): pass"
    assert kernel.run(code, during=when(".", gate.touch)).text() == "."
    bar = "for i in range(4): print(f'{i}0%', end='\\r', flush=True)"
    assert kernel.run(bar).text() == "00%\r10%\r20%\r30%\r"


def test_o3_random_bytes(kernel: Kernel, client: Client) -> None:
    """O3."""
    cell = kernel.run("import os\nos.write(1, bytes([65, 255, 195, 169, 254, 66])) and None")
    assert cell.text() == "A\ufffdé\ufffdB"
    ran = Ran(client, "head -c 5000 /dev/urandom; exit 7")
    assert ran.final.status == 7
    assert ran.text("stdout")


def test_o4_much_output(kernel: Kernel) -> None:
    """O4: whole, and in bounded memory."""
    line = "x" * 99
    cell = kernel.run(f"for _ in range({MANY_BYTES // 100}): print({line!r})")
    assert len(cell.text()) == MANY_BYTES
    assert psutil.Process(kernel.pid).memory_info().rss < MEMORY_BYTES


def test_o5_a_background_child_delays_nothing(kernel: Kernel, client: Client) -> None:
    """O5: it holds the pipe for longer than we would wait."""
    code = "import subprocess\nsubprocess.run('sleep 600 & echo begun', shell=True).returncode"
    cell = kernel.run(code)
    assert (cell.text(), cell.result) == ("begun\n", "0")
    assert Ran(client, "sleep 600 & echo begun").text("stdout") == "begun\n"


def test_o6_a_closed_stdout_makes_no_flood(kernel: Kernel) -> None:
    """O6."""
    cell = kernel.run(
        "import os, sys\nsys.stdout.close()\nos.close(1)\nfor _ in range(9): print('x')"
    )
    assert len(cell.messages) < 20
    assert kernel.run("print('after')").text() == "after\n"


def test_o7_ends_are_told_apart(
    image: str, client: Client, docker_client: docker.DockerClient
) -> None:
    """O7."""
    ends = {
        "exit 3": (3, "exit"),
        "kill -TERM $$": (143, "signal"),
        "true": (0, "ok"),
    }
    for command, end in ends.items():
        final = Ran(client, command).final
        assert (final.status, final.reason) == end
    assert Ran(client, "sleep 60", timeout=0.2).final.reason == "timeout"
    job = client.request(wire.Run(client.new_id(), "sleep 60"))
    client.ask(wire.Cancel(client.new_id(), job.id))
    assert job.result(PATIENCE).reason == "interrupt"
    other = Sandbox(Settings(image=image, mount_workspace=False))
    try:
        lost = other.client()
        name = Ran(lost, "cat /etc/hostname").text("stdout").strip()
        cut = lost.request(wire.Run(lost.new_id(), "sleep 60"))
        docker_client.containers.get(name).kill()
        with pytest.raises(ConnectionLost):
            cut.result(PATIENCE)
    finally:
        other.stop()


def test_o8_execution_time(client: Client) -> None:
    """O8: no shorter than what its own clock says, no longer than what ours says."""
    ran = Ran(client, "date +%s.%N; sleep 1; date +%s.%N")
    began, ended = map(float, ran.text("stdout").split())
    assert ran.final.seconds is not None
    assert 1 <= ended - began <= ran.final.seconds <= ran.seconds


def test_o9_output_lands_in_the_cell_that_started_it(kernel: Kernel) -> None:
    """O9: of threads, also after the cell's end, and of subprocesses."""
    code = """
import subprocess, threading
gate = threading.Event()
thread = threading.Thread(target=lambda: (gate.wait(), print('late')))
thread.start()
child = subprocess.Popen('read x; echo child', shell=True, stdin=subprocess.PIPE)
"""
    first = kernel.run(code).reply["parent_header"]["msg_id"]
    kernel.client.execute("gate.set(); thread.join(); child.communicate(b'go\\n') and None")
    text = ""
    while "late\n" not in text or "child\n" not in text:
        message = kernel.next_output(lambda m: m["msg_type"] == "stream")
        assert message["parent_header"]["msg_id"] == first
        text += message["content"]["text"]
    kernel.client.get_shell_msg(timeout=PATIENCE)


# ---- control ------------------------------------------------------------------------------------


def test_c1_a_timeout_ends_the_whole_group(client: Client) -> None:
    """C1: a chatty job of five seconds and its children."""
    chatty = "for i in 1 2 3; do (while :; do echo $i; sleep 0.01; done) & done; sleep 5; echo end"
    ran = Ran(client, chatty, timeout=1)
    assert ran.final.reason == "timeout"
    assert "end" not in ran.text("stdout")
    assert ran.final.seconds is not None
    assert ran.final.seconds < 5
    look = "cat /proc/*/cmdline | tr '\\0' ' '; true"
    # The final doesn't wait for what is in the background: that gets SIGTERM, then SIGKILL.
    assert wait_until(lambda: "sleep 0.01" not in Ran(client, look).text("stdout"), PATIENCE)


INTERRUPTED = {
    "a loop": "while True: pass",
    "time.sleep": "import time\ntime.sleep(60)",
    "a command": "!sleep 60",
    "a C call": "import re\nre.match('(a+)+b', 'a' * 60)",
    "await": "import asyncio\nawait asyncio.sleep(60)",
}


@pytest.mark.parametrize("code", INTERRUPTED.values(), ids=INTERRUPTED.keys())
def test_c3_an_interrupt_stops(kernel: Kernel, code: str) -> None:
    """C3: and the variables stay."""
    kernel.run("kept = 1")
    stop = when("running", lambda: kernel.manager.interrupt_kernel())
    cell = kernel.run(f"print('running')\n{code}", during=stop)
    # IPython passes Ctrl-C on to a command, and goes on itself.
    assert cell.status == "error" or code.startswith("!")
    assert kernel.run("kept").result == "1"


def test_c3_an_interrupt_stops_a_question(kernel: Kernel) -> None:
    """C3."""

    def interrupt(_: str) -> str:
        kernel.manager.interrupt_kernel()
        return ""

    cell = kernel.run("input('? ')", answer=interrupt)
    assert cell.reply["content"].get("ename", "KeyboardInterrupt") == "KeyboardInterrupt"
    assert kernel.run("1").result == "1"


def test_c4_questions(kernel: Kernel) -> None:
    """C4."""
    code = "import getpass\n[input('a? '), getpass.getpass('b? ')]"
    assert kernel.run(code, answer=lambda prompt: prompt[0]).result == "['a', 'b']"
    cell = kernel.run("input('? ')")
    assert cell.reply["content"]["ename"] == "StdinNotImplementedError"


@pytest.mark.parametrize(
    ("code", "words"),
    [("os._exit(3)", "status 3"), ("os.kill(os.getpid(), 11)", "SIGSEGV")],
)
def test_c5_a_dead_worker_is_reported(kernel: Kernel, code: str, words: str) -> None:
    """C5."""
    cell = kernel.run(f"import os\n{code}")
    assert cell.reply["content"]["ename"] == "SessionDied"
    assert words in cell.error
    assert kernel.run("1").result == "1"


def test_c6_the_call_after_a_timeout_waits_for_nothing(client: Client) -> None:
    """C6: the one before would go on for a minute."""
    stubborn = "trap '' INT TERM; sleep 60 & wait; sleep 60"
    assert Ran(client, stubborn, timeout=0.2).final.reason == "timeout"
    assert Ran(client, "echo next").seconds < 20


def test_c7_what_ignores_interrupts_is_ended(kernel: Kernel) -> None:
    """C7: by a further interrupt, and the person is told what is lost."""
    code = """
import signal
lost = 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
print('running')
while True: pass
"""

    def interrupt(message: Message) -> None:
        if says(message, "running") or says(message, "Interrupt again"):
            kernel.manager.interrupt_kernel()

    cell = kernel.run(code, during=interrupt)
    assert "its variables are lost" in cell.text("stderr")
    assert cell.reply["content"]["ename"] == "SessionDied"
    after = kernel.run("'lost' in globals()")
    assert after.result == "False"


# ---- sessions -----------------------------------------------------------------------------------


def test_k1_sessions_share_no_variables(client: Client) -> None:
    """K1: two of them in one container."""

    def run(session: str, code: str) -> Any:
        return client.ask(wire.Execute(client.new_id(), session, code), PATIENCE)

    for name in ("one", "two"):
        client.ask(wire.OpenSession(client.new_id(), name), PATIENCE)
    assert run("one", "x = 1")["status"] == "ok"
    assert run("one", "x")["status"] == "ok"
    assert run("two", "x")["ename"] == "NameError"


def test_k11_the_images_own_packages_win(ipython_image: str, tmp_path: Path) -> None:
    """K11: it has an older IPython and pygments; the newer ones are lent, and stand behind."""
    with Kernel(f"--image={ipython_image}", folder=tmp_path) as kernel:
        for name in ("IPython", "pygments", "traitlets"):
            where = kernel.run(f"import {name}; {name}.__file__").result
            assert "/opt/docker-kernel" not in str(where)
