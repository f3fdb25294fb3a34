"""`docker-kernel run` with a script or code, on a true server without a container."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from docker_kernel import tools
from docker_kernel.cli import main
from terminal import on_terminal
from wire import PATIENCE, Server, gone

PROGRAM = "import sys; from docker_kernel.cli import main; sys.exit(main())"
LOOK = """
import json, sys
json.dump([sys.argv, sys.path[0], globals().get("__file__"), sys.stdin.read()], sys.stdout)
"""


def command(server: Server, *words: str) -> list[str]:
    """The command line of a process of its own."""
    where = ["run", "--mode=attached", f"--port={server.port}"]
    return [sys.executable, "-c", PROGRAM, *where, *words]


def run(server: Server, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    return subprocess.run(
        command(server, *words), input=stdin, capture_output=True, check=False, timeout=PATIENCE
    )


def test_a_script_that_the_server_sees(server: Server) -> None:
    """It is the file that runs, with its arguments and its input; the exit code is its own."""
    path = server.folder / "sub" / "-a script.py"
    path.parent.mkdir()
    path.write_text(f"{LOOK}import neighbour\nprint('x', file=sys.stderr)\nsys.exit(7)")
    (path.parent / "neighbour.py").write_text("print(sys.argv[1:]) if 0 else None")
    words = ["--workspace", str(server.folder), "--", str(path), "--image", "--", "é"]
    done = run(server, *words, stdin="\xff é\n".encode())
    place = "sub/-a script.py"
    full = str(server.folder / place)
    assert done.stderr == b"x\n"
    argv, first, file, stdin = json.loads(done.stdout)
    assert argv == [place, "--image", "--", "é"]
    assert (first, file) == (str(path.parent), full)
    assert stdin == "\xff é\n"
    assert done.returncode == 7


@pytest.mark.parametrize("there", [False, True])
def test_a_script_that_the_server_does_not_see(there: bool, server: Server, tmp_path: Path) -> None:
    """Its text runs, also where another file has its name there; tracebacks know its lines."""
    path = tmp_path / "elsewhere" / "a.py"
    path.parent.mkdir()
    path.write_bytes(f"# coding: latin-1\n{LOOK}\nraise ValueError('ä')".encode("latin-1"))
    if there:
        (server.folder / "a.py").write_text("print('another')")
    done = run(server, str(path), "b", stdin=b"given\n")
    full = str(server.folder / "a.py")
    assert json.loads(done.stdout) == [["a.py", "b"], str(server.folder), full, "given\n"]
    said = done.stderr.decode()
    assert f"File \"{full}\", line 6, in <module>\n    raise ValueError('ä')" in said
    assert said.count("File ") == 1
    assert done.returncode == 1


def test_code(server: Server) -> None:
    done = run(server, "-c", LOOK, "--image", "-c", "--", "x", stdin=b"given")
    expected = [["-c", "--image", "-c", "--", "x"], "", None, "given"]
    assert json.loads(done.stdout) == expected
    assert (done.returncode, done.stderr) == (0, b"")


def test_code_on_standard_input(server: Server) -> None:
    done = run(server, "-", "x", stdin=f"# coding: utf-7\n{LOOK}\nprint('é')".encode())
    line, _, rest = done.stdout.decode().partition("]")
    assert json.loads(f"{line}]{rest.partition(']')[0]}]") == [["-", "x"], "", None, ""]
    assert rest.endswith("é\n")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-c", "import os; os.kill(os.getpid(), 15)"], 143, "signal 15"),
        (["-c", "import sys; sys.exit('no')"], 1, "no\n"),
        (["--timeout", "0.3", "-c", "import time; time.sleep(60)"], 124, "longer than 0.3 s"),
        (["-c", "input()"], 1, "EOFError"),
    ],
)
def test_how_it_ends(words: list[str], code: int, says: str, server: Server) -> None:
    """The exit code is as a shell has it."""
    done = run(server, *words)
    assert done.returncode == code
    assert says in done.stderr.decode()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.py"], "No such file"),
        (["."], "Is a directory"),
        (["bytes.py"], "not text"),
        (["-c", "1"], "no server answers"),
    ],
)
def test_what_can_not_be_begun(
    words: list[str],
    says: str,
    free_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bytes.py").write_bytes(b"print('\xff')")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--mode=attached", f"--port={free_port}", *words]) == 125
    said = capsys.readouterr().err
    assert says in said
    assert "To mend it" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        ["--timeout", "0", "a.py"],
        ["--timeout", "nan", "a.py"],
        ["--output", "x", "a.py"],
        ["-c"],
        ["a.ipynb", "--timeout", "3"],
        ["a.ipynb", "b.ipynb"],
        ["a.ipynb", "-c", "1"],
    ],
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", *words])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_it_streams_and_ctrl_c_interrupts_it(server: Server) -> None:
    """The output is there before the end, and so is what the program says to Ctrl-C."""
    code = "import time\ntry: print('on'); time.sleep(60)\nfinally: print('put away')"
    with subprocess.Popen(
        command(server, "-c", code),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "put away\n"
        said = process.stderr.read()
    assert process.returncode == 130
    assert said.startswith('Traceback (most recent call last):\n  File "<code>", line 2')
    assert said.endswith("KeyboardInterrupt\ndocker-kernel: interrupted\n")


def test_sigterm_ends_what_goes_on(server: Server) -> None:
    code = (
        "import signal, time\n"
        "for n in (2, 15): signal.signal(n, signal.SIG_IGN)\n"
        "print('on')\nwhile 1: time.sleep(60)"
    )
    with subprocess.Popen(
        command(server, "-c", code), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 130
    assert gone(server, "size, code")


def test_who_reads_hangs_up(server: Server) -> None:
    with subprocess.Popen(
        command(server, "-c", "while 1: print('x' * 1000)"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == b""
    assert gone(server, "size, code")


def test_escape_codes(server: Server) -> None:
    """E7: a terminal gets no harmful ones; a file gets all, as the output is the program's."""
    code = "import sys\nfor f in sys.stdout, sys.stderr: print('\\x1b[31ma\\x1b[2J\\tb', file=f)"
    returncode, printed, shown = on_terminal(command(server, "-c", code))
    assert returncode == 0
    assert printed == "\x1b[31ma\x1b[2J\tb\n"
    assert shown.endswith(b"\x1b[31ma\tb\r\n")


def test_a_terminal_is_not_read(server: Server) -> None:
    """Nobody has to press Ctrl-D."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            command(server, "-c", LOOK),
            stdin=theirs,
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert json.loads(done.stdout)[-1] == ""


@pytest.mark.parametrize("kind", ["script", "code"])
def test_verification_and_audit_log(
    kind: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """V1, X2: as for the tools; nothing of what is refused is sent."""
    log = tmp_path / "audit.log"
    code = "import subprocess; open('ran', 'w')"
    path = server.folder / "a.py"
    path.write_text(code)
    words = [str(path)] if kind == "script" else ["-c", code]
    settings = ["--allowed-modules", "json", "--audit-log", str(log)]
    where = ["--mode=attached", f"--port={server.port}"]
    assert main(["run", *where, *settings, *words]) == 125
    assert "subprocess" in capsys.readouterr().err
    assert not (server.folder / "ran").exists()
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["refused"]
    assert main(["run", *where, *settings, "-c", "import json; print('fine')"]) == 0
    assert capsys.readouterr().out == "fine\n"
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events == ["refused", "sent", "ended"]
    # The client of this process's tools is the person's own again.
    assert tools.get_docker_client().port != server.port
