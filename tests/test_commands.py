"""Shell commands: their output (O1 to O5), how they end (O7, O8), and that they do (C1, C6)."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import psutil
import pytest

from system import wait_until
from wire import PATIENCE, Raw, Server, Wire, gone, stalled

# ---- how they end


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    [
        ("true", 0, "ok"),
        ("exit 3", 3, "exit"),
        ("exit 255", 255, "exit"),
        # A shell's own way of telling of a signal is an exit code like any other.
        ("exit 130", 130, "exit"),
        ("exit 124", 124, "exit"),
        ("no-such-command-here", 127, "exit"),
    ],
)
def test_exit_codes(client: Wire, command: str, status: int, reason: str) -> None:
    """O7"""
    answer = client.run(command)
    assert answer.ending == (status, reason)
    assert answer.result == {"exit_code": status, "signal": None}


@pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("INT", 2)])
def test_signals(client: Wire, name: str, number: int) -> None:
    """O7: one that ends the command isn't an exit code, a timeout or an interrupt."""
    answer = client.run(f"kill -{name} $$")
    assert answer.ending == (128 + number, "signal")
    assert answer.result == {"exit_code": None, "signal": number}


def test_a_timeout_is_told_apart_and_ends_the_whole_group(server: Server, client: Wire) -> None:
    """C1, O7: a chatty job with children, long before it would end by itself."""
    answer = client.run("sleep 4321 & while :; do echo x; sleep 0.1; done", timeout=1)
    assert answer.ending == (124, "timeout")
    assert answer.text().startswith("x\n")
    assert 1 <= answer.seconds < 10
    assert gone(server, "sleep 4321")


STRAYS = {
    "in the background": "sleep 4321 &",
    "setsid": "setsid sleep 4321 &",
    "a daemon": "(setsid sleep 4321 &)",
    "in a pipe": "sleep 4321 | setsid sleep 4321 &",
    "deaf": "(trap '' INT TERM HUP; setsid sleep 4321 &)",
    "stopped": "setsid sh -c 'kill -STOP $$; exec sleep 4321' &",
    "with another environment": "env -i setsid sh -c 'echo $$ > strange; exec sleep 4321' &",
}


@pytest.mark.parametrize("way", ["timeout", "cancel", "closed"])
@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
def test_a_command_that_is_ended_ends_with_all_that_it_started(
    server: Server, stray: str, way: str
) -> None:
    """C1: wherever that has gone."""
    strange = server.folder / "strange"
    strange.unlink(missing_ok=True)
    with server.connect() as client:
        command = stray + "\necho on; exec sleep 8765"
        run = client.begin("run", command=command, timeout=1 if way == "timeout" else None)
        client.wait_for_text(run, "on")
        others = []
        if "strange" in stray:  # its number is all that tells what it is
            assert wait_until(lambda: strange.is_file() and bool(strange.read_text()), PATIENCE)
            others.append(psutil.Process(int(strange.read_text())))
        if way == "cancel":
            client.ask("cancel", target=run)
        if way == "closed":
            client.abort()
        else:
            assert client.finish(run).reason == ("timeout" if way == "timeout" else "interrupt")
    assert gone(server, "4321")
    assert gone(server, "8765")
    assert not psutil.wait_procs(others, PATIENCE)[1]


def test_a_server_that_stops_ends_what_is_being_ended(tmp_path: Path) -> None:
    """C1, E8: it doesn't wait for the last rung."""
    with Server(tmp_path) as server, server.connect() as client:
        command = "(trap '' INT TERM; setsid sleep 4321 &); echo on; exec sleep 8765"
        run = client.begin("run", command=command)
        client.wait_for_text(run, "on")
        client.ask("cancel", target=run)
        client.finish(run)
        assert server.stop() == 0
        assert gone(server)


def test_a_timeout_ends_what_ignores_signals(client: Wire) -> None:
    """C1"""
    answer = client.run("trap '' INT TERM HUP; while :; do sleep 0.1; done", timeout=0.5)
    assert answer.ending == (124, "timeout")
    assert answer.seconds < 15


def test_a_job_within_its_timeout_succeeds(client: Wire) -> None:
    """C2: a timeout that isn't reached changes nothing, and silence is no reason to end."""
    answer = client.run("sleep 1.2; echo done", timeout=300)
    assert answer.ending == (0, "ok")
    assert answer.text() == "done\n"


def test_the_call_after_a_timeout_does_not_wait(client: Wire) -> None:
    """C6"""
    assert client.run("sleep 4321", timeout=0.2).reason == "timeout"
    answer = client.run("echo next")
    assert answer.text() == "next\n"
    assert answer.seconds < 10


def test_an_interrupt_is_told_apart(server: Server, client: Wire) -> None:
    """O7: it reaches the whole group."""
    run = client.begin("run", command="echo on; sleep 4321 | sleep 4321")
    client.wait_for_text(run, "on")
    assert client.ask("cancel", target=run).result == {"running": True}
    assert client.finish(run).ending == (130, "interrupt")
    assert client.ask("cancel", target=run).result == {"running": False}
    assert gone(server, "sleep 4321")


def test_a_command_is_cancelled_before_it_has_begun(client: Wire) -> None:
    """O7: the two requests come in one packet."""
    names = [client.begin("run", command="sleep 60") for _ in range(20)]
    for name in names:
        client.begin("cancel", target=name)
    assert {client.finish(name).reason for name in names} == {"interrupt"}


def test_a_command_may_handle_its_interrupt(client: Wire) -> None:
    """As Ctrl-C in a terminal: it has time to clean up, and its output still comes."""
    code = "trap 'echo cleaning; exit 7' INT; echo on; while :; do sleep 0.05; done"
    run = client.begin("run", command=code)
    client.wait_for_text(run, "on")
    assert client.ask("cancel", target=run).status == 0
    answer = client.finish(run)
    assert answer.text() == "on\ncleaning\n"
    assert answer.ending == (7, "interrupt")


def test_what_ignores_an_interrupt_can_be_ended(client: Wire) -> None:
    """C7"""
    run = client.begin("run", command="trap '' INT TERM; echo on; while :; do sleep 0.1; done")
    client.wait_for_text(run, "on")
    deadline = time.monotonic() + PATIENCE
    while not client.so_far(run).final and time.monotonic() < deadline:
        client.ask("cancel", target=run)
    assert client.finish(run).reason == "interrupt"


def test_a_lost_connection_is_no_final(server: Server) -> None:
    """O7: a transport failure is the end of the stream."""
    with server.connect() as client:
        client.begin("run", command="echo on; sleep 4321")
        client.receive()
        client.abort()
    assert gone(server, "sleep 4321")


# ---- what they print


def test_stdout_and_stderr_come_apart(client: Wire) -> None:
    """O1"""
    answer = client.run("echo out; echo err >&2; echo more")
    assert answer.text("stdout") == "out\nmore\n"
    assert answer.text("stderr") == "err\n"


def test_output_comes_before_the_end_and_without_a_newline(client: Wire, tmp_path: Path) -> None:
    """O2: the command waits until the test has seen what it printed."""
    gate = tmp_path / "gate"
    run = client.begin("run", command=f"mkfifo {gate}; printf 'half\\r'; read x < {gate}; echo $x")
    client.wait_for_text(run, "half\r")
    gate.write_text("done\n")
    answer = client.finish(run)
    assert answer.text() == "half\rdone\n"


def test_a_character_that_is_split_comes_whole(client: Wire, tmp_path: Path) -> None:
    """P2, O3"""
    gate = tmp_path / "gate"
    code = f"mkfifo {gate}; printf 'a\\303'; read x < {gate}; printf '\\251\\360\\237'"
    run = client.begin("run", command=code)
    client.wait_for_text(run, "a")
    gate.write_text("on\n")
    assert client.finish(run).text() == "aé\ufffd"


def test_random_bytes_are_replaced(client: Wire) -> None:
    """O3: and the exit code survives."""
    answer = client.run(r"printf 'a\377\376b\000c\033[0m\303('; exit 5")
    assert answer.ending == (5, "exit")
    assert answer.text() == "a\ufffd\ufffdb\x00c\x1b[0m\ufffd("
    answer = client.run("head -c 1000000 /dev/urandom; exit 6")
    assert answer.ending == (6, "exit")


def test_a_large_output_comes_whole_in_linear_time(client: Wire) -> None:
    """O4"""

    def seconds(lines: int) -> float:
        answer = client.run(f"yes 0123456789abcde | head -n {lines}")
        assert answer.ending == (0, "ok")
        assert len(answer.text()) == lines * 16
        return answer.seconds

    seconds(1000)
    small, large = seconds(250_000), seconds(1_000_000)
    assert large < 12 * small + 2


def test_the_result_of_a_large_raw_command(server: Server) -> None:
    """O4: complete, or cut with a mark; what streams is complete."""
    with Raw(server.port) as client:
        answer = client.run(b"yes 0123456789abcde | head -n 1000000; exit 4")
    assert answer.status == 4
    assert len(answer.text()) == 16_000_000
    assert answer.result == answer.text()


def test_a_background_child_does_not_delay_the_end(client: Wire) -> None:
    """O5"""
    answer = client.run("sleep 4322 & echo hi")
    assert answer.ending == (0, "ok")
    assert answer.text() == "hi\n"
    assert answer.seconds < 20


def test_output_of_a_background_child_carries_its_commands_id(client: Wire, tmp_path: Path) -> None:
    """Guarantee 2 of docs/protocol.md."""
    gate = tmp_path / "gate"
    run = client.begin("run", command=f"mkfifo {gate}; (read x < {gate}; echo late) & echo hi")
    assert client.finish(run).text() == "hi\n"
    gate.write_text("on\n")
    assert client.late_text(run, 5) == "late\n"


def test_seconds_are_the_time_it_took(client: Wire) -> None:
    """O8"""
    began = time.monotonic()
    answer = client.run("sleep 1")
    assert 1 <= answer.seconds <= time.monotonic() - began


# ---- what they are given


def test_the_folder_is_the_work_folder(server: Server, client: Wire, tmp_path: Path) -> None:
    assert client.run("pwd -P").text() == f"{server.folder.resolve()}\n"
    assert client.run("pwd -P", cwd=str(tmp_path)).text() == f"{tmp_path.resolve()}\n"
    (server.folder / "a b").mkdir()
    assert client.run("pwd -P", cwd="a b").text() == f"{server.folder.resolve()}/a b\n"


def test_a_folder_that_is_not_there_is_a_clear_error(client: Wire) -> None:
    answer = client.run("touch here", cwd="/no/such/folder")
    assert answer.reason == "refused"
    assert "/no/such/folder" in answer.result


def test_environment(client: Wire) -> None:
    answer = client.run('echo "$GREETING" "$HOME"', env={"GREETING": "hé  llo"})
    assert answer.text().startswith("hé  llo /")


@pytest.mark.parametrize(
    "keys",
    [
        {"command": "echo \ud800"},
        {"command": "true", "env": {"A": 5}},
        {"command": "true", "env": {"A=B": "x"}},
        {"command": "true", "env": {"A": "x\0"}},
        {"command": "true", "stdin": "\ud800"},
        {"command": "true", "cwd": "/tmp\0"},
        {"command": "true", "cwd": "\ud800"},
        {"command": "true", "env": {"\ud800": "\ud800"}},
    ],
    ids=repr,
)
def test_what_no_process_can_be_given_is_refused(client: Wire, keys: dict[str, object]) -> None:
    """P3"""
    answer = client.ask("run", **keys)
    assert answer.reason == "refused"
    assert answer.result
    assert client.run("echo alive").text() == "alive\n"


def test_a_command_that_is_too_long_for_an_argument_runs(client: Wire) -> None:
    """P1: a process takes arguments of 128 KiB; a command has no such bound."""
    assert client.run("echo hi #" + "x" * 1_000_000).text() == "hi\n"


def test_stdin(client: Wire) -> None:
    assert client.run("cat", stdin="é\nline").text() == "é\nline"
    assert client.run("cat").text() == ""
    # More than a pipe holds, read late or never.
    assert client.run("sleep 0.2; wc -c", stdin="x" * 1_000_000).text().strip() == "1000000"
    assert client.run("true", stdin="x" * 1_000_000).ending == (0, "ok")


def test_quotes_and_backslashes_arrive_as_they_are(client: Wire) -> None:
    """A3"""
    text = "a'b\"c`d$e\\f\nü"
    assert client.run("cat << 'END'\n" + text + "\nEND").text() == text + "\n"


def test_commands_run_beside_each_other(client: Wire, tmp_path: Path) -> None:
    """P8: the first ends only when the second has begun."""
    gate = tmp_path / "gate"
    first = client.begin("run", command=f"mkfifo {gate}; echo on; read x < {gate}; echo $x")
    client.wait_for_text(first, "on")
    assert client.run(f"echo through > {gate}").status == 0
    assert client.finish(first).text() == "on\nthrough\n"


def test_a_background_child_goes_on_when_the_client_reads_on(client: Wire) -> None:
    """P9: also after the command that started it has ended."""
    count = 1_500_000
    command = f"seq {count} & echo pid $!"
    name = client.begin("run", command=command)
    client.wait_for_text(name, "pid ")
    text = client.finish(name).text()
    pid = int(text.split("pid ")[1].split()[0])
    stalled(pid)
    lines = text.count("\n")
    while lines < count + 1:
        lines += client.receive()["data"].count("\n")


def test_a_command_without_descriptors_is_refused(tmp_path: Path) -> None:
    """Fixed point 5 of the wire: it gets its final, and the next one runs."""
    with Server(tmp_path) as server, server.connect() as client:
        pid = server.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        client.open()
        opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened, before[1]))
        assert client.run("true").reason == "refused"
        with Raw(server.port) as raw:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + 1, before[1]))
            answer = raw.run(b"true")
            assert (answer.ending, answer.final["code"]) == ((126, "refused"), "refused")
            assert "could not be started" in answer.result
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert client.run("true").ending == (0, "ok")
        assert "never retrieved" not in server.log()
