"""What leaves a worker, under IPython and in the plain shell.

Order (O1), streaming (O2), any bytes (O3, O4), closed streams (O6), threads and children (O9), and
questions (C4).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wire import Server, Session, Wire

pytestmark = pytest.mark.parametrize("server", ["ipython", "plain"], indirect=True)


# ---- order


def test_prints_and_displays_come_in_order(session: Session) -> None:
    """O1: exactly, and so do the two streams."""
    code = """
import sys
for i in range(50):
    print(i)
    print(i, file=sys.stderr)
    display(i)
'last'
"""
    answer = session.ok(code)
    seen = []
    for event in answer.events:
        if event["type"] == "chunk":
            seen += [(event.get("stream", "stdout"), line) for line in event["data"].split()]
        else:
            seen.append((event["type"], event["data"]["text/plain"]))
    expected = []
    for i in range(50):
        expected += [("stdout", str(i)), ("stderr", str(i)), ("display", str(i))]
    assert seen == [*expected, ("result", "'last'")]


def test_output_of_children_comes_before_the_final(session: Session) -> None:
    """O1, O9: children, C libraries, bytes written to the descriptor."""
    code = """
import ctypes, os, subprocess, sys
subprocess.run('echo child; echo oops >&2', shell=True)
os.system('echo system')
os.write(1, b'descriptor\\n')
ctypes.CDLL(None).puts(b'from C')
sys.__stdout__.write('dunder\\n')
os.write(2, 'é'.encode())
"""
    for _ in range(20):
        answer = session.ok(code)
        lines = answer.text("stdout").split("\n")
        assert sorted(lines) == ["", "child", "descriptor", "dunder", "from C", "system"]
        assert answer.text("stderr") == "oops\né"


def test_all_of_a_large_output_comes_before_the_final(session: Session) -> None:
    """O4: nothing lost, nothing twice."""
    answer = session.ok("for i in range(200_000): print(i)")
    assert answer.text() == "".join(f"{i}\n" for i in range(200_000))
    answer = session.ok("import os; os.system('yes 0123456789abcde | head -n 500000')\nNone")
    assert answer.text("stdout") == "0123456789abcde\n" * 500_000
    answer = session.ok("print('x' * 20_000_000)")
    assert answer.text() == "x" * 20_000_000 + "\n"


def test_a_display_that_is_too_large_is_an_error(session: Session) -> None:
    """P3, O4: the cell says so, and the session lives."""
    code = "class Big:\n    def _repr_html_(self): return 'x' * 70_000_000\nBig()"
    answer = session.execute(code)
    assert "bound" in str(answer.of("error")) + answer.text()
    assert session.ok("1 + 1").value == "2"


# ---- streaming


def test_text_without_a_newline_streams(client: Wire, session: Session, tmp_path: Path) -> None:
    """O2: the cell waits until the test has seen it, so nothing else could have let it out."""
    gate = tmp_path / "gate"
    session.ok(f"import os; os.mkfifo('{gate}')")
    for code, text in (
        ("print('.', end='')", "."),
        ("import sys; sys.stdout.write('50 %\\r')", "50 %\r"),
        ("print('!', end='', file=__import__('sys').stderr)", "!"),
        ("import os; os.write(1, b'half')", "half"),
        ("import subprocess; subprocess.run(['printf', 'child'])", "child"),
        ("import sys; sys.stdout.buffer.write(b'bytes'); sys.stdout.buffer.flush()", "bytes"),
    ):
        cell = session.begin(f"_ = [{code!r}]\nexec(_[0])\n_ = open('{gate}').read()")
        client.wait_for_text(cell, text)
        gate.write_text("go on")
        answer = client.finish(cell)
        assert answer.ending == (0, "ok")
        assert answer.text() == text


def test_output_streams_while_python_is_blocked(
    client: Wire, session: Session, tmp_path: Path
) -> None:
    """O2: a child's output doesn't wait for a thread of ours to have its turn."""
    gate = tmp_path / "gate"
    code = f"import os; os.mkfifo('{gate}')\n"
    code += f"import ctypes\nctypes.PyDLL(None).system(b'echo streams; read x < {gate}')\nNone"
    cell = session.begin(code)
    client.wait_for_text(cell, "streams")
    gate.write_text("go on\n")
    assert client.finish(cell).ending == (0, "ok")


def test_the_first_line_leaves_before_python_is_blocked(
    client: Wire, session: Session, tmp_path: Path
) -> None:
    """O2: no other thread has a turn after it; nor does a cell that has just ended delay it."""
    gate = tmp_path / "gate"
    session.ok(f"import ctypes, os; os.mkfifo('{gate}'); system = ctypes.PyDLL(None).system")
    before = session.begin("print('before')")
    cell = session.begin(f"print('on')\n_ = system(b'read x < {gate}')")
    assert client.finish(before).text() == "before\n"
    client.wait_for_text(cell, "on\n")
    gate.write_text("go on\n")
    assert client.finish(cell).ending == (0, "ok")


def test_random_bytes(session: Session) -> None:
    """O3: replaced; characters that are split come whole."""
    code = r"""
import os, sys
os.write(1, b'a\xff\xfeb')
for byte in 'é🐍'.encode():
    os.write(1, bytes([byte]))
"""
    assert session.ok(code + "None").text() == "a\ufffd\ufffdbé🐍"
    code = "import sys\nfor b in 'é🐍'.encode():\n    _ = sys.stdout.buffer.write(bytes([b]))\n"
    assert session.ok(code + "sys.stdout.buffer.flush()").text() == "é🐍"
    answer = session.ok("import os; _ = [os.write(2, os.urandom(1000)) for i in range(200)]")
    assert "\ufffd" in answer.text("stderr")
    assert session.ok("print('\\ud800 \\x00 \\x1b[31m')").text() == "\ud800 \x00 \x1b[31m\n"


def test_bytes_come_in_order_with_text(session: Session) -> None:
    """O1, O3: in the cell that writes them, with no flush."""
    session.ok("import io, sys")
    assert session.ok("_ = sys.stdout.buffer.write(b'x')").text() == "x"
    code = "sys.stdout.buffer.write(b'1'); print('2', end=''); sys.stdout.buffer.write(b'34')\n"
    assert session.ok(code + "print('5'); print('6', file=sys.stderr)").text("stdout") == "12345\n"
    # A character that is never finished is replaced, and nothing goes to the next cell.
    code = "sys.stdout.buffer.write(b'a\\xc3'); print('b'); _ = sys.stdout.buffer.write(b'\\xc3')"
    assert session.ok(code).text() == "a\ufffdb\n\ufffd"
    assert session.ok("print('c')").text() == "c\n"
    # A wrapper that goes closes nothing.
    code = "w = io.TextIOWrapper(sys.stdout.buffer); _ = w.write('é'); w.flush(); del w"
    assert session.ok(code).text() == "é"
    assert session.ok("_ = sys.stdout.buffer.write(memoryview(b'still'))").text() == "still"
    assert session.execute("sys.stdout.buffer.write('text')").error == "TypeError"
    code = "import subprocess; _ = subprocess.run(['printf', 'child'], stdout=sys.stdout.buffer)"
    assert session.ok(code).text() == "child"


# ---- threads, children, closed streams


def test_a_thread_belongs_to_the_cell_that_started_it(client: Wire, session: Session) -> None:
    """O9: also when another cell runs."""
    session.ok("import threading; go = threading.Event(); done = threading.Event()")
    code = "threading.Thread(target=lambda: (go.wait(), print('late'), done.set())).start()"
    first = session.begin(code)
    assert client.finish(first).text() == ""
    second = session.begin("go.set(); _ = done.wait(); print('mine')")
    assert client.finish(second).text() == "mine\n"
    assert client.late_text(first, 5) == "late\n"


def test_a_child_belongs_to_the_cell_that_started_it(
    client: Wire, session: Session, tmp_path: Path
) -> None:
    """O9"""
    gate = tmp_path / "gate"
    code = f"import os, subprocess; os.mkfifo('{gate}')\n"
    code += f"child = subprocess.Popen('read x < {gate}; echo late', shell=True)"
    first = session.begin(code)
    assert client.finish(first).text() == ""
    second = session.begin(
        f"_ = open('{gate}', 'w').write('on\\n'); _ = child.wait(); print('mine')"
    )
    assert client.finish(second).text() == "mine\n"
    assert client.late_text(first, 5) == "late\n"


def test_a_task_goes_on_between_cells(client: Wire, session: Session) -> None:
    """O9, K6: and prints into the cell that made it."""
    code = """
import asyncio
async def tick():
    await asyncio.sleep(0.05)
    print('tick')
task = asyncio.get_event_loop().create_task(tick())
await asyncio.sleep(0)
"""
    first = session.begin(code)
    assert client.finish(first).ending == (0, "ok")
    assert client.late_text(first, 5) == "tick\n"
    assert session.ok("await task\ntask.done()").value == "True"


def test_forks_come_out_once(session: Session) -> None:
    """O9: a child that is forked in a cell prints, and is gone; the cell ends once."""
    code = """
import os, warnings
warnings.simplefilter('ignore')  # Python 3.12 warns of a fork beside threads
print('before')
pid = os.fork()
if pid == 0:
    print('child', flush=True)
else:
    os.waitpid(pid, 0)
    print('parent')
"""
    answer = session.ok(code)
    assert sorted(answer.text().split()) == ["before", "child", "parent"]
    assert session.ok("1 + 1").value == "2"


def test_multiprocessing(session: Session) -> None:
    """O9"""
    code = """
import multiprocessing
def work(i):
    print('worker', i, flush=True)
    return i * i
with multiprocessing.get_context('fork').Pool(2) as pool:
    squares = pool.map(work, range(4))
squares
"""
    answer = session.ok(code)
    assert answer.value == "[0, 1, 4, 9]"
    lines = sorted(answer.text("stdout").splitlines())
    assert lines == [f"worker {i}" for i in range(4)]


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import os; os.close(1); os.close(2)",
        "import sys; sys.stdout = sys.stderr = None",
        "import sys; del sys.stdout, sys.stderr",
        "import sys; sys.stdout = sys.stderr = 5",
        "import io, sys; sys.stdout = sys.stderr = io.StringIO(); sys.stdout.close()",
        "import sys; sys.__stdout__ = sys.__stderr__ = 5",
    ],
)
def test_a_stream_that_a_cell_broke_is_put_back(session: Session, code: str) -> None:
    """O6: the cell makes no flood, and the next one prints."""
    assert len(str(session.execute(code).events)) < 10_000
    code = "import os, sys\nprint('x')\n_ = print('y', file=sys.stderr), os.system('echo hi')"
    for _ in range(2):
        answer = session.ok(code)
        assert sorted(answer.text("stdout").split()) == ["hi", "x"]
        assert answer.text("stderr") == "y\n"


TEE = """
import sys
class Tee:
    def __init__(self, to):
        self.to, self.seen = to, []
    def write(self, text):
        self.seen.append(text)
        return self.to.write(text)
    def flush(self):
        self.to.flush()
sys.stdout = Tee(sys.stdout)
"""


def test_a_stream_of_the_persons_own_stays(session: Session) -> None:
    """As in IPython: it is there for every cell that follows."""
    session.ok(TEE)
    assert session.ok("print('x')").text() == "x\n"
    assert session.ok("''.join(sys.stdout.seen)").value == repr("x\n")
    session.ok("import io; sys.stdout = io.StringIO()")
    assert session.ok("print('y')").text() == ""
    assert session.ok("sys.stdout.getvalue()").value == repr("y\n")


def test_a_stream_that_was_replaced_is_the_persons_own(session: Session) -> None:
    code = """
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()) as held:
    print('held')
print('seen', repr(held.getvalue()))
"""
    assert session.ok(code).text() == "seen 'held\\n'\n"


# ---- questions


def test_questions_are_answered(client: Wire, session: Session) -> None:
    """C4"""
    code = """
import getpass
name = input('Name: ')
word = getpass.getpass('Word: ')
print(name, word)
"""
    cell = session.begin(code, allow_stdin=True)
    asked = client.wait_for(cell, "input_request")
    assert asked["prompt"] == "Name: "
    assert not asked.get("password", False)
    session.reply(cell, "Ada é")
    while len(client.so_far(cell).of("input_request")) < 2:
        client.step()
    asked = client.so_far(cell).of("input_request")[-1]
    assert (asked["prompt"], asked["password"]) == ("Word: ", True)
    session.reply(cell, "s3cret")
    assert client.finish(cell).text() == "Ada é s3cret\n"


@pytest.mark.parametrize("code", ["input()", "import getpass; getpass.getpass()"])
def test_a_question_that_nobody_answers_fails_at_once(session: Session, code: str) -> None:
    """C4: clearly."""
    answer = session.execute(code, allow_stdin=False)
    assert answer.ending == (1, "error")
    assert "input requests" in answer.of("error")[0]["evalue"]


def test_what_is_printed_comes_before_the_question(client: Wire, session: Session) -> None:
    """O1, C4"""
    cell = session.begin("print('first', end='')\nx = input('?')", allow_stdin=True)
    client.wait_for(cell, "input_request")
    assert [event["type"] for event in client.so_far(cell).events] == ["chunk", "input_request"]
    session.reply(cell, "")
    assert client.finish(cell).ending == (0, "ok")


def test_a_descriptor_that_was_closed_is_the_cells_own(session: Session) -> None:
    """O6: the next cell's children have a stdout again."""
    session.ok("import os, subprocess; os.close(1); os.close(0)")
    for _ in range(2):
        answer = session.ok("subprocess.run(['sh', '-c', 'echo out; echo err >&2']).returncode")
        assert (answer.text("stdout"), answer.text("stderr")) == ("out\n", "err\n")
        assert answer.value == "0"


def test_children_get_nothing_of_the_wire(session: Session) -> None:
    session.ok("import os; os.system('ls -l /proc/self/fd > fds'); seen = open('fds').read()")
    assert session.ok("'socket:' in seen, 'pipe:' in seen").value == "(False, True)"


def test_a_cell_that_closes_the_wire_ends(client: Wire, session: Session) -> None:
    """C5: nobody could reach it any more."""
    closing = session.begin("import os, time; os.closerange(3, 1000); time.sleep(1000)")
    waiting = session.begin("1")
    assert client.finish(closing).reason == "died"
    # It died with the first, or came later and ran in the fresh session.
    assert client.finish(waiting).reason in ("died", "ok")
    assert session.ok("1 + 1").value == "2"


GARBAGE = """
import os, stat
lines = b'\\n[]\\n{"type": []}\\n{"type": "final"}\\n{"type": "ready", "info": 1}\\n'
lines += bytes(range(128, 256))
for fd in range(3, 64):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.write(fd, lines + b'\\n')
    except OSError:
        pass
"""


def test_garbage_on_the_wire_costs_nothing_else(server: Server, session: Session) -> None:
    """P3"""
    session.ok(GARBAGE)
    assert session.ok("1 + 1").value == "2"
    assert "Exception in callback" not in server.log()


DEEP = """
deep = []
for i in range(100_000):
    deep = [deep]
class Deep:
    def _repr_mimebundle_(self, **kwargs):
        return {"text/plain": "deep", "application/json": deep}
"""


def test_a_reply_that_is_nested_too_deeply_is_an_error(session: Session) -> None:
    """Fixed point 5 of the wire."""
    session.ok(DEEP)
    answer = session.execute("1", user_expressions={"x": "Deep()"})
    assert answer.reason == "error"
    assert "200 levels" in answer.result
    assert "200 levels" in str(session.execute("display(Deep())").of("error"))
    assert session.ok("'deep' in globals()").value == "True"


ALARM = """
import signal
signal.signal(signal.SIGALRM, lambda *args: print("ding"))
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
for i in range(100):
    print("x" * 300_000)
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_signals_handler_may_print(server: Server, session: Session) -> None:
    """O1: also where it comes in the middle of what leaves."""
    before = server.log()
    text = session.ok(ALARM).text()
    assert text.count("x") == 30_000_000
    assert "ding" in text
    assert server.log() == before


BELLS = """
import signal, sys
class Bell(Exception): pass
armed = False
def ring(*args):
    global armed
    if armed:
        armed = False
        raise Bell
signal.signal(signal.SIGALRM, ring)
_ = signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
number = bells = 0
while number < 20_000:
    armed = True
    try:
        _ = sys.stdout.write(f"<{number}{' ' * (number % 100 * 50)}>\\n")
        armed = False
        number += 1
    except Bell:
        bells += 1
_ = signal.setitimer(signal.ITIMER_REAL, 0)
print(bells, file=sys.stderr)
"""


def test_a_signals_handler_may_raise(session: Session) -> None:
    """O1: anywhere. What was printed comes whole and in order; what was cut short comes again."""
    answer = session.ok(BELLS)
    assert int(answer.text("stderr")) > 10
    lines = answer.text("stdout").splitlines()
    assert all(line[0] == "<" and line[-1] == ">" for line in lines)
    numbers = [int(line[1:-1]) for line in lines]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(20_000))
    assert session.ok("1 + 1").value == "2"


def test_a_signals_handler_may_raise_between_cells(client: Wire, session: Session) -> None:
    """C5: the session goes on, and says what came up."""
    code = "import signal\ndef ring(*args): 1 / 0\n_ = signal.signal(signal.SIGALRM, ring)\n"
    cell = session.begin(code + "_ = signal.setitimer(signal.ITIMER_REAL, 0.05)")
    assert client.finish(cell).ending == (0, "ok")
    assert "ZeroDivisionError" in client.late_text(cell, 150)
    assert session.ok("ring.__name__").value == "'ring'"


def test_a_finder_that_fails_ends_no_session(session: Session) -> None:
    """K5: a class as a finder, which inherits a method that wants an instance."""
    session.ok(
        "import sys\n"
        "class Finder:\n"
        "    find_spec = staticmethod(lambda *_: None)\n"
        "    def invalidate_caches(self): pass\n"
        "sys.meta_path.append(Finder)"
    )
    assert session.ok("Finder.__name__").value == "'Finder'"


def test_a_task_group_after_an_interrupt(client: Wire, session: Session) -> None:
    """C3: an interrupt is of one cell."""
    if sys.version_info < (3, 11) or session.opened.result["shell"] == "plain":
        pytest.skip("there is no TaskGroup")
    cell = session.begin("import asyncio; print('go'); await asyncio.sleep(1000)")
    client.wait_for_text(cell, "go")
    session.interrupt()
    assert client.finish(cell).reason == "interrupt"
    code = "async def fail(): 1 / 0\n"
    code += "try:\n    async with asyncio.TaskGroup() as group: group.create_task(fail())\n"
    code += "except* ZeroDivisionError: print('caught')"
    assert session.ok(code).text() == "caught\n"


# ---- questions of threads


def test_questions_of_threads_are_asked_one_after_another(client: Wire, session: Session) -> None:
    """C4: an answer doesn't say which question it is for."""
    code = """
import threading
got = []
threads = [threading.Thread(target=lambda n=n: got.append((n, input(f'{n}? ')))) for n in 'ab']
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(got))
"""
    cell = session.begin(code, allow_stdin=True)
    for _ in range(2):
        asked: dict[str, str] = {}
        while asked.get("type") != "input_request":
            asked = client.step()
        session.reply(cell, f"answer to {asked['prompt'][0]}")
    assert client.finish(cell).text() == "[('a', 'answer to a'), ('b', 'answer to b')]\n"


def test_a_thread_that_waits_for_an_answer_when_its_cell_ends(
    client: Wire, session: Session
) -> None:
    """C4: the next cell can ask."""
    code = """
import threading
def ask():
    try:
        input('thread? ')
    except EOFError:
        print('nobody')
thread = threading.Thread(target=ask)
thread.start()
"""
    session.ok(code, allow_stdin=True)
    cell = session.begin("thread.join()\ninput('cell? ')", allow_stdin=True)
    asked: dict[str, str] = {}
    while asked.get("prompt") != "cell? ":
        asked = client.step()
    session.reply(cell, "yes")
    assert client.finish(cell).value == "'yes'"


@pytest.mark.parametrize("subshell", ["", "x"])
def test_a_cell_may_stop_the_loop(client: Wire, session: Session, subshell: str) -> None:
    """K1: it goes on, and nothing is said of it."""
    session.ok("import asyncio; x = 1")
    for code in ("", "await asyncio.sleep(0.01)"):
        answer = session.ok(f"asyncio.get_running_loop().stop()\n{code}\nx", subshell=subshell)
        assert (answer.value, answer.text()) == ("1", "")
        assert session.ok("x", subshell=subshell).value == "1"
    assert session.ok("task = asyncio.ensure_future(asyncio.sleep(0, 5)); await task").value == "5"
    assert not client.loose
