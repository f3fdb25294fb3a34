"""Sessions: their life, and who else is there (K1, P9); control (C1, C3, C5, C6); K9."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from docker_kernel_server.messages import Final, OpenSession
from docker_kernel_server.session import Sink
from docker_kernel_server.sessions import Sessions
from wire import PATIENCE, Server, Session, Wire, gone, stalled


def pid_of(session: Session) -> int:
    return int(session.ok("import os; print(os.getpid())").text())


def deaths(client: Wire) -> list[dict[str, str]]:
    """The session_died events; they are of no request."""
    died = [event for event in client.loose if event["type"] == "session_died"]
    assert all(event["id"] == "" for event in died)
    return died


# ---- life


def test_state_persists(session: Session) -> None:
    """K1"""
    session.ok("x = 6")
    session.ok("def f(y): return x * y")
    assert session.ok("f(7)").value == "42"


def test_sessions_share_nothing(client: Wire, session: Session) -> None:
    """K1"""
    other = client.open()
    session.ok("x = 'mine'; import os; os.environ['X'] = x; os.chdir('/')")
    assert other.ok("'x' in globals()").value == "False"
    assert other.ok("import os; os.environ.get('X'), os.getcwd()").value != "('mine', '/')"
    assert other.ask("close_session").status == 0


def test_opening_says_what_there_is(session: Session) -> None:
    opened = session.opened.result
    assert opened["new"] is True
    assert opened["shell"] == "ipython"
    assert opened["python"].startswith("3.")
    assert opened["notes"] == []
    assert opened["execution_count"] == 1
    assert opened["pid"] == pid_of(session)


def test_a_session_outlives_its_connection(server: Server) -> None:
    with server.connect() as first:
        name = first.open().name
        Session(first, name).ok("x = 42")
        first.abort()
    with server.connect() as second:
        again = second.open(name)
        assert again.opened.result["new"] is False
        assert again.opened.result["execution_count"] == 2
        assert again.ok("x").value == "42"
        assert again.ask("close_session").status == 0


def test_two_sessions_run_at_once(client: Wire, session: Session, tmp_path: Path) -> None:
    """P9: the first ends only when the second has run."""
    gate = tmp_path / "gate"
    other = client.open()
    cell = session.begin(f"import os; os.mkfifo('{gate}'); print('on')\nopen('{gate}').read()")
    client.wait_for_text(cell, "on")
    assert other.ok(f"open('{gate}', 'w').write('through')").ending == (0, "ok")
    assert client.finish(cell).of("result")[0]["data"]["text/plain"] == "'through'"
    assert other.ask("close_session").status == 0


def test_restart_drops_variables_and_keeps_files(session: Session) -> None:
    """K9: a fork, in the same folder."""
    session.ok("x = 1; open('kept.txt', 'w').write('kept')")
    before = pid_of(session)
    answer = session.ask("restart_session")
    assert answer.ending == (0, "ok")
    assert answer.result["new"] is True
    assert answer.result["execution_count"] == 1
    assert answer.result["pid"] == pid_of(session) != before
    assert session.ok("'x' in globals(), open('kept.txt').read()").value == "(False, 'kept')"


def test_restart_ends_a_running_cell(server: Server, client: Wire, session: Session) -> None:
    cell = session.begin("import os; os.system('echo on; sleep 4321')")
    client.wait_for_text(cell, "on")
    restart = client.begin("restart_session", session=session.name)
    assert client.finish(cell).reason == "closed"
    assert client.finish(restart).ending == (0, "ok")
    assert gone(server, "sleep 4321")
    assert session.ok("1 + 1").value == "2"


def test_close_ends_the_process_and_what_it_started(server: Server, client: Wire) -> None:
    closed = client.open()
    pid = pid_of(closed)
    closed.ok("import subprocess; subprocess.Popen(['sleep', '4321'])")
    closed.ok("import atexit; atexit.register(lambda: open('farewell.txt', 'w').write('bye'))")
    assert closed.ask("close_session").status == 0
    assert gone(server, "sleep 4321")
    assert pid not in server.processes()
    assert (server.folder / "farewell.txt").read_text() == "bye"
    refused = closed.execute("1")
    assert (refused.reason, refused.final["code"]) == ("refused", "refused")
    # The name is free again.
    again = client.open(closed.name)
    assert again.opened.result["new"] is True
    assert again.ask("close_session").status == 0


def test_close_ends_a_running_cell(client: Wire) -> None:
    busy = client.open()
    cell = busy.begin("print('on', flush=True)\nwhile True: pass")
    client.wait_for_text(cell, "on")
    assert busy.ask("close_session").status == 0
    assert client.finish(cell).reason == "closed"


# ---- interrupts

# Each says "on" as late as it can: an interrupt between a child's fork and its exec is lost, in
# Python as such.
WAITS = {
    "a loop": "print('on')\nwhile True: pass",
    "a chatty loop": "while True: print('on' * 100)",
    "time.sleep": "import time; print('on'); time.sleep(4321)",
    "a child": "import subprocess; subprocess.run('echo on; exec sleep 4321', shell=True)",
    "a child whose output is read": (
        "import subprocess; subprocess.check_output('echo on >&2; exec sleep 4321', shell=True)"
    ),
    "await": "import asyncio; print('on'); await asyncio.sleep(4321)",
    "a lock": "import threading; k = threading.Lock(); k.acquire(); print('on'); k.acquire()",
    "an event": "import threading; print('on'); threading.Event().wait()",
    "C code that looks at signals": "print('on'); max(i for i in iter(int, 1))",
    "except Exception": (
        "print('on')\nwhile True:\n    try:\n        pass\n    except Exception:\n        pass"
    ),
}


@pytest.mark.parametrize("code", WAITS.values(), ids=WAITS)
def test_an_interrupt_stops(server: Server, client: Wire, session: Session, code: str) -> None:
    """C3: whatever the cell is in; variables stay."""
    session.ok("kept = 42")
    cell = session.begin(code)
    client.wait_for_text(cell, "on")
    began = time.monotonic()
    assert session.interrupt().result == {"running": True}
    while not client.so_far(cell).final:
        client.step()
        assert time.monotonic() - began < 20
    answer = client.finish(cell)
    assert answer.reason == "interrupt"
    assert answer.status != 0
    assert answer.result["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert session.ok("kept").value == "42"
    assert gone(server, "sleep 4321")


@pytest.mark.parametrize(
    "code", ["import os; os.system('echo on; exec sleep 4321')", "!echo on; exec sleep 4321"]
)
def test_an_interrupt_stops_a_shell_command(
    server: Server, client: Wire, session: Session, code: str
) -> None:
    """C3: it is the command's there, as in a terminal, and the cell goes on."""
    session.ok("kept = 42")
    cell = session.begin(code)
    client.wait_for_text(cell, "on")
    session.interrupt()
    assert client.finish(cell).reason in ("ok", "interrupt")
    assert gone(server, "sleep 4321")
    assert session.ok("kept").value == "42"


def test_an_interrupt_stops_a_question(client: Wire, session: Session) -> None:
    """C3"""
    session.ok("kept = 42")
    cell = session.begin("input('name: ')", allow_stdin=True)
    assert client.wait_for(cell, "input_request")["prompt"] == "name: "
    session.interrupt()
    assert client.finish(cell).reason == "interrupt"
    assert session.ok("kept").value == "42"


def test_an_interrupt_between_cells_is_nothing(session: Session) -> None:
    session.ok("kept = 42")
    for _ in range(10):
        assert session.interrupt().result == {"running": False}
        assert session.ok("kept").value == "42"


def test_an_interrupt_in_any_moment_of_short_cells(client: Wire, session: Session) -> None:
    """C3: each cell either was done or was interrupted, and the session is never harmed."""
    session.ok("total = 0")
    endings = set()
    for _ in range(60):
        cell = session.begin("print('x')\nfor i in range(2000): total += 1")
        interrupt = client.begin("interrupt", session=session.name)
        endings.add(client.finish(cell).reason)
        client.finish(interrupt)
    assert endings <= {"ok", "interrupt"}
    assert session.ok("1 + 1").value == "2"


def test_a_flood_of_interrupts_never_ends_a_session(client: Wire, session: Session) -> None:
    """C3: they come in every moment of a cell, also while it deals with the one before."""
    session.ok("kept = 42")
    code = "import os, time; print('on'); os.system('sleep 0.01'); time.sleep(0.01)"
    for _ in range(30):
        cell = session.begin(code)
        flood = [client.begin("interrupt", session=session.name) for _ in range(20)]
        assert client.finish(cell).reason in ("ok", "interrupt")
        for name in flood:
            assert client.finish(name).status == 0
        client.finish(session.begin("1"))
    assert session.ok("kept").value == "42"
    assert not deaths(client)


UNBEGUN = """
import sys, gc
ask = get_ipython().should_run_async
def interrupted(*args, **kwargs):
    if sys._getframe(1).f_code.co_name == "_run_cell":
        del get_ipython().should_run_async
        raise KeyboardInterrupt
    return ask(*args, **kwargs)
get_ipython().should_run_async = interrupted
"""


def test_an_interrupt_at_a_cells_very_start_says_nothing_of_coroutines(session: Session) -> None:
    """C3: in the middle of IPython's own code it's rare, so it is raised there by hand."""
    session.ok(UNBEGUN)
    answer = session.execute("1 + 1")
    assert answer.error == "KeyboardInterrupt"
    assert "never awaited" not in answer.text() + session.ok("gc.collect() and None").text()
    # The person's own mistake is still told.
    code = "async def mine(): pass\nmine() and None\n_ = gc.collect()"
    assert "'mine' was never awaited" in session.ok(code).text()


@pytest.mark.parametrize(
    "before",
    [
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); None",
        "import pdb\npdb.set_trace()",
    ],
)
def test_a_handler_of_an_earlier_cell_is_gone(client: Wire, session: Session, before: str) -> None:
    """C3: also the debugger's, which it sets when it is told to continue."""
    cell = session.begin(before, allow_stdin=True)
    if "pdb" in before:
        client.wait_for(cell, "input_request")
        session.reply(cell, "c")
    assert client.finish(cell).reason == "ok"
    cell = session.begin("print('on')\nwhile True: pass")
    client.wait_for_text(cell, "on")
    session.interrupt()
    assert client.finish(cell).reason == "interrupt"


def test_a_cell_may_handle_its_interrupt(client: Wire, session: Session) -> None:
    code = "try:\n    print('on')\n    while True: pass\n"
    code += "except KeyboardInterrupt:\n    print('handled')"
    cell = session.begin(code)
    client.wait_for_text(cell, "on")
    session.interrupt()
    answer = client.finish(cell)
    assert answer.text() == "on\nhandled\n"
    assert answer.error is None


def test_cells_that_wait_are_not_begun_by_an_interrupt(client: Wire, session: Session) -> None:
    """The interrupt is the running cell's; the next one runs."""
    cell = session.begin("print('on')\nwhile True: pass")
    following = session.begin("'next'")
    client.wait_for_text(cell, "on")
    session.interrupt()
    assert client.finish(cell).reason == "interrupt"
    assert client.finish(following).value == "'next'"


# ---- timeouts


@pytest.mark.parametrize(
    "code",
    ["while True: print('x')", "import os; os.system('sleep 4321')", "import time; time.sleep(50)"],
)
def test_a_timeout_ends_a_cell(server: Server, session: Session, code: str) -> None:
    """C1, O7: told apart from an error; variables stay where the cell can be interrupted."""
    session.ok("kept = 42")
    answer = session.execute(code, timeout=1)
    assert answer.reason == "timeout"
    assert answer.status != 0
    assert 0.5 < answer.seconds < 15
    assert session.ok("kept").value == "42"
    assert gone(server, "sleep 4321")


def test_a_timeout_is_one_cells(session: Session) -> None:
    """A4"""
    assert session.ok("1", timeout=2).value == "1"
    assert session.ok("import time; time.sleep(2.3); 2").value == "2"
    assert session.ok("import time; time.sleep(0.1); 3", timeout=60).value == "3"


# ---- deaths

DEATHS = {
    "exit": ("import os; os._exit(3)", "exit", "3"),
    "exit 0": ("import os; os._exit(0)", "exit", "0"),
    "kill": ("import os; os.kill(os.getpid(), 9)", "signal", "SIGKILL"),
    "term": ("import os; os.kill(os.getpid(), 15)", "signal", "SIGTERM"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "signal", "SIGSEGV"),
    "abort": ("import os; os.abort()", "signal", "SIGABRT"),
}


@pytest.mark.parametrize(("code", "reason", "word"), DEATHS.values(), ids=DEATHS)
def test_a_dead_worker_is_reported(
    client: Wire, session: Session, code: str, reason: str, word: str
) -> None:
    """C5: with its cause; what it printed isn't lost; the next cell works in a fresh session."""
    session.ok("lost = 42")
    cell = session.begin(f"print('last words')\n{code}")
    waiting = session.begin("'waiting'")
    answer = client.finish(cell)
    assert answer.reason == "died"
    assert answer.status != 0
    assert answer.text("stdout") == "last words\n"
    assert answer.seconds < 20
    (died,) = deaths(client)
    assert (died["session"], died["reason"]) == (session.name, reason)
    assert word in died["detail"]
    # What waited has its final as well: it ran in the fresh session, or died with the old one.
    assert client.finish(waiting).reason in ("ok", "died")
    assert session.ok("'lost' in globals()").value == "False"


def test_a_worker_that_dies_between_cells_is_reported(client: Wire, session: Session) -> None:
    """C5"""
    session.ok("lost = 42")
    client.run(f"kill -9 {pid_of(session)}")
    while not deaths(client):
        client.step()
    assert deaths(client)[0]["session"] == session.name
    answer = session.ok("'lost' in globals()")
    assert "variables are lost" in answer.text("stderr")
    assert answer.value == "False"
    assert session.ok("'lost' in globals()").value == "False"


def test_a_dead_workers_children_end_with_it(server: Server, session: Session) -> None:
    code = "import os, subprocess; subprocess.Popen(['sleep', '4321']); os._exit(1)"
    assert session.execute(code).reason == "died"
    assert gone(server, "sleep 4321")


def test_all_requests_of_a_dead_worker_get_their_final(client: Wire, session: Session) -> None:
    """Fixed point 5 of the wire."""
    names = [session.begin("import os; os._exit(1)"), session.begin("1")]
    names.append(client.begin("complete", session=session.name, code="pri", cursor_pos=3))
    names.append(client.begin("is_complete", session=session.name, code="1"))
    for name in names:
        assert client.finish(name).final["id"] == name


def test_a_zygote_that_dies_is_replaced(tmp_path: Path) -> None:
    """C5: memory may run out anywhere; the worker's keeper is killed, too."""
    with Server(tmp_path) as server, server.connect() as client:
        first = client.open()
        first.ok("x = 1")
        worker = pid_of(first)
        for pid in server.processes():
            if pid not in (worker, server.process.pid):
                client.run(f"kill -9 {pid} 2>/dev/null")
        assert client.open().ok("1 + 1").value == "2"
        assert first.execute("1 + 2").final
        assert first.ok("1 + 2").value == "3"
        assert server.stop(signal.SIGTERM) == 0
        assert gone(server)


# ---- two clients


def test_a_session_follows_the_client_that_opened_it_last(server: Server, client: Wire) -> None:
    """Guarantee 5 of docs/protocol.md."""
    session = client.open()
    code = "import threading; go = threading.Event()\n"
    code += "threading.Thread(target=lambda: (go.wait(), print('late'))).start()"
    cell = session.begin(code)
    assert client.finish(cell).ending == (0, "ok")
    with server.connect() as second:
        again = second.open(session.name)
        again.ok("go.set()")
        assert second.late_text(cell, 5) == "late\n"
        assert again.ask("close_session").status == 0


def test_another_clients_requests_are_refused(server: Server, client: Wire) -> None:
    """Until it opens the session; then the first one's are."""
    session = client.open()
    with server.connect() as second:
        other = Session(second, session.name)
        for kind, keys in (("execute", {"code": "1"}), ("interrupt", {}), ("close_session", {})):
            refused = other.ask(kind, **keys)
            assert (refused.reason, refused.final["code"]) == ("refused", "refused")
            assert "open" in refused.result
        assert second.open(session.name).ok("1 + 1").value == "2"
        assert session.execute("1").reason == "refused"
        assert other.ask("close_session").status == 0


def test_a_cell_goes_on_without_its_client(server: Server, tmp_path: Path) -> None:
    """Its output has nowhere to go, and blocks nothing."""
    file = tmp_path / "done"
    with server.connect() as first:
        session = first.open()
        code = "print('on', flush=True)\nfor i in range(100_000): print('x' * 100)\n"
        cell = session.begin(code + f"_ = open('{file}', 'w').write('done')")
        first.wait_for_text(cell, "on")
        first.abort()
    with server.connect() as second:
        again = second.open(session.name)
        assert again.ok("1 + 1").value == "2"
        assert file.read_text() == "done"
        assert again.ask("close_session").status == 0


def test_a_session_leaves_a_client_that_does_not_read(server: Server, client: Wire) -> None:
    """P9: whoever opens it next gets it, however stuck the one before is."""
    stuck = client.open()
    code = "for i in range(64): print('x' * 1_000_000)"
    client.wait_for_text(stuck.begin(code), "x")
    pid = stuck.opened.result["pid"]
    stalled(pid)
    with server.connect() as second:
        session = second.open(stuck.name)
        assert session.ok("1 + 1").value == "2"
        assert session.ask("close_session").status == 0


# ---- starts that fail


def test_a_cell_that_holds_all_descriptors_can_give_them_back(session: Session) -> None:
    """Else the session would be lost."""
    session.ok(
        "import os, resource\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "files = []\n"
        "try:\n"
        "    while True: files.append(open(os.devnull))\n"
        "except OSError: pass"
    )
    assert session.ok("print(len(files) > 200)").text() == "True\n"
    session.ok("resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)); files.clear()")
    assert "hi" in session.ok("!echo hi").text()


def test_what_waits_for_a_start_that_fails_is_answered_by_it(tmp_path: Path) -> None:
    """Fixed point 5 of the wire; one start for all that waits."""
    starts = tmp_path / "starts"
    python = script(tmp_path, f"#!/bin/sh\necho >> {starts}\nexit 1\n")
    with Server(tmp_path, args=["--python", python]) as server, server.connect() as client:
        opening = client.begin("open_session", session="s")
        cells = [client.begin("execute", session="s", code="1") for _ in range(50)]
        for name in [opening, *cells]:
            answer = client.finish(name)
            assert answer.reason == "refused"
            assert "could not be started" in answer.result
        assert len(starts.read_text()) < 10


ZYGOTE = """#!{python}
import array, json, os, socket, sys
control = socket.socket(fileno=int(sys.argv[4]))
while True:
    data, rights, _, _ = control.recvmsg(1, 100)
    if not data:
        break
    reins, *others = array.array("i", rights[0][2])
    pid = os.posix_spawn("/bin/true", ["true"], os.environ)
    os.waitpid(pid, 0)
    lines = [{{"keeper": pid, "pid": pid}}, {{"exited": 9}}]
    os.write(reins, "".join(json.dumps(line) + chr(10) for line in lines).encode())
    for fd in (reins, *others):
        os.close(fd)
"""


def test_a_worker_that_ends_as_soon_as_it_is_there(tmp_path: Path) -> None:
    """C5: the server hears of both at once."""
    python = script(tmp_path, ZYGOTE.format(python=sys.executable))
    with Server(tmp_path, args=["--python", python]) as server, server.connect() as client:
        for _ in range(2):
            answer = client.ask("open_session", session="s")
            assert answer.reason == "refused"
            assert "SIGKILL" in answer.result
        assert client.run("echo alive").text() == "alive\n"
        assert server.log() == ""


STRANGE_PIPES = """
import array, os, socket, stat, tempfile
# The worker's own socket for pipes is the datagram one.
for fd in range(3, 64):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            pipes = socket.socket(fileno=os.dup(fd))
            if pipes.type == socket.SOCK_DGRAM:
                break
    except OSError:
        pass
for kind in (tempfile.TemporaryFile(), socket.socket(), open("/dev/null")):
    rights = array.array("i", [kind.fileno(), kind.fileno()])
    for _ in range(50):
        pipes.sendmsg([b"strange\\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
os.system("echo from a child")
"""


def test_only_pipes_are_taken_from_a_worker(tmp_path: Path) -> None:
    """P3: what else its code sends costs the server nothing, and the cell neither."""
    with Server(tmp_path) as server, server.connect() as client:
        session = client.open()
        session.ok("1")
        before = psutil.Process(server.process.pid).num_fds()
        assert session.ok(STRANGE_PIPES).text() == "from a child\n"
        assert session.ok("1 + 1").value == "2"
        assert psutil.Process(server.process.pid).num_fds() - before < 10
        assert server.log() == ""


def script(folder: Path, text: str) -> str:
    """A program that stands in for the sessions' Python."""
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_fork_that_fails_costs_no_other_session(tmp_path: Path) -> None:
    """C5: there may be too many processes already."""
    full = tmp_path / "full"
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nfork = os.fork\ndef limited():\n"
        f"    if os.path.exists({str(full)!r}): raise OSError(11, 'no more processes')\n"
        "    return fork()\nos.fork = limited\n"
    )
    text = f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n'
    python = script(tmp_path, text)
    with Server(tmp_path, args=["--python", python]) as server, server.connect() as client:
        session = client.open()
        session.ok("x = 42")
        full.touch()
        refused = client.ask("open_session", session="further")
        assert refused.reason == "refused"
        assert "no more processes" in refused.result
        assert session.ok("x").value == "42"
        full.unlink()
        assert client.ask("open_session", session="further").status == 0


def test_a_restart_ends_what_waits_for_the_start(tmp_path: Path) -> None:
    """K9: as it ends what runs."""
    with Server(tmp_path) as server, server.connect() as client:
        opening = client.begin("open_session", session="s")
        early = client.begin("execute", session="s", code="x = 42")
        restart = client.begin("restart_session", session="s")
        late = client.begin("execute", session="s", code="'x' in globals()")
        assert client.finish(early).reason == "closed"
        assert client.finish(opening).status == client.finish(restart).status == 0
        assert client.finish(late).value == "False"


def test_a_stop_does_not_wait_for_a_start(tmp_path: Path) -> None:
    """E8"""
    python = script(tmp_path, "#!/bin/sh\nexec sleep 1000\n")
    with Server(tmp_path, args=["--python", python]) as server, server.connect() as client:
        client.begin("open_session", session="s")
        waiting = client.begin("execute", session="s", code="1")
        assert client.ask("status").status == 0
        started = time.monotonic()
        server.process.terminate()
        assert client.finish(waiting).reason == "closed"
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - started < 15
        assert gone(server)


def test_a_start_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E1"""
    monkeypatch.setattr("docker_kernel_server.session.START_SECONDS", 0.2)
    python = script(tmp_path, "#!/bin/sh\nexec sleep 1000\n")

    async def open_one() -> Final:
        every = Sessions(python, "", str(tmp_path))
        answered: asyncio.Future[Final] = asyncio.get_running_loop().create_future()
        every.handle(OpenSession("1", "s"), answered.set_result, Sink())
        try:
            return await asyncio.wait_for(answered, PATIENCE)
        finally:
            await every.close()

    assert "not ready after" in str(asyncio.run(open_one()).result)
