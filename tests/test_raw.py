"""Raw commands: this client on older servers, and older clients on this server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import older
from docker_kernel import aio, tools
from docker_kernel.commands import Command, Done
from docker_kernel.contact import NotConnected
from docker_kernel.errors import OlderServer, ServerNotThere
from docker_kernel.raw import MAX_COMMAND_BYTES, RawClient
from docker_kernel.sandbox import Sandbox
from docker_kernel.session import Session
from tooling import SURFACE, unreachable, using
from wire import PATIENCE, Server, gone

NASTY = "a'b\"c`d`$e${HOME}$(f)\\g\\n%h!i\tj\nk 'é🐍€;&|<>*?[~#"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture(params=[True, False], ids=["streams", "result alone"])
def old(folder: Path, request: pytest.FixtureRequest) -> Iterator[older.OlderServer]:
    """An older server, with a client that is in use."""
    with older.serving(folder, request.param) as (server, port), using(port):
        yield server


@pytest.fixture
def streaming(folder: Path) -> Iterator[older.OlderServer]:
    with older.serving(folder) as (server, port), using(port):
        yield server


# ---- the tools on an older server


class TestTools:
    def test_a_command(self, old: older.OlderServer) -> None:
        result = tools.run_shell_command("echo out; echo err >&2; exit 3")
        assert set(result) == SURFACE["run_shell_command"][1]
        assert (result["success"], result["exit_code"]) == (False, 3)
        assert (result["stdout"], result["stderr"]) == ("out\nerr\n", "")
        assert result["command"] == "echo out; echo err >&2; exit 3"
        assert tools.run_shell_command("true")["success"]
        assert sum("hello" in command for command in old.seen) == 1

    def test_code(self, old: older.OlderServer, folder: Path) -> None:
        """A3"""
        code = f"import sys\ntext = {NASTY!r}\nsys.stdout.buffer.write(text.encode())"
        result = tools.run_python_code(code)
        assert set(result) == SURFACE["run_python_code"][1]
        assert (result["success"], result["stdout"]) == (True, NASTY)
        failed = tools.run_python_code("x = 5\n1 / 0  # here")
        assert failed["exit_code"] == 1
        assert 'File "<code>", line 2' in failed["stdout"]
        assert "1 / 0  # here" in failed["stdout"]
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("size", [3900, 4096, 4097, 8192, 100_000])
    def test_what_is_long_comes_whole_or_not_at_all(
        self, streaming: older.OlderServer, folder: Path, size: int
    ) -> None:
        """P1, A3: though such a server reads 4096 bytes, and takes the rest for a command."""
        lines = "touch cut\n" * (size // 10)
        code = f"text = '''{lines}'''\nprint(len(text))"
        assert tools.run_python_code(code)["stdout"] == f"{size // 10 * 10}\n"
        text = "é" * (size // 2)
        assert tools.create_log_file("long.txt", text)["success"]
        assert (folder / "long.txt").read_text() == text
        sizes = [len(command.encode("utf-8", "surrogateescape")) for command in streaming.seen]
        assert max(sizes) <= MAX_COMMAND_BYTES
        assert [path.name for path in folder.iterdir()] == ["long.txt"]
        assert list(Path("/tmp").glob("docker-kernel-*.sh")) == []

    def test_arguments_and_folders(self, old: older.OlderServer, folder: Path) -> None:
        where = "a 'b' $HOME"
        tools.create_log_file(
            f"{where}/a script.py", "import os, sys; print(sys.argv, os.getcwd())"
        )
        result = tools.run_python_script("a script.py", ["a b", NASTY], where)
        assert set(result) == SURFACE["run_python_script"][1]
        assert result["stdout"] == f"{['a script.py', 'a b', NASTY]} {folder / where}\n"
        assert tools.run_shell_command("pwd", where)["stdout"] == f"{folder / where}\n"
        missing = tools.run_shell_command("touch here", "no such folder")
        assert not missing["success"]
        assert "no such folder" in missing["stdout"]
        assert not (folder / "here").exists()

    def test_all_the_others(self, old: older.OlderServer, folder: Path) -> None:
        assert tools.append_to_log("a.py", "x = (\n")["success"]
        assert (folder / "a.py").read_text() == "x = (\n"
        assert tools.check_python_syntax("a.py")["valid_syntax"] is False
        assert tools.list_installed_packages()["total_count"] > 0
        info = tools.get_environment_info()
        assert info["working_directory"] == str(folder)
        assert info["execution_mode"] == "Docker Container"
        assert tools.test_docker_connection()["success"]
        failed = tools.install_package("./no such file.whl")
        assert (failed["success"], failed["installed"]) == (False, False)

    def test_output_streams(self, streaming: older.OlderServer, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        seen: list[tuple[str, str]] = []

        def take(stream: str, text: str) -> None:
            if not seen:
                gate.touch()
            seen.append((stream, text))

        wait = f"until [ -e '{gate}' ]; do sleep 0.05; done"
        command = f"echo one; {wait}; echo two"
        assert tools.run_shell_command(command, stream_output=take)["success"]
        assert seen == [("stdout", "one\n"), ("stdout", "two\n")]

    def test_a_timeout(self, streaming: older.OlderServer) -> None:
        """A4: this side hangs up."""
        result = tools.run_shell_command("echo on; exec sleep 30", timeout=1)
        assert (result["success"], result["exit_code"]) == (False, 124)
        assert result["stdout"] == "on\n"
        assert "1 s" in result["error"]
        assert "older server" in result["error"]
        chatty = tools.run_shell_command("while :; do echo x; sleep 0.01; done", timeout=0.5)
        assert chatty["exit_code"] == 124
        assert tools.run_shell_command("sleep 1.5")["success"]

    def test_a_coroutine_that_is_cancelled(self, streaming: older.OlderServer) -> None:
        async def cancel() -> None:
            loop, begun = asyncio.get_running_loop(), asyncio.Event()
            call = asyncio.ensure_future(
                aio.run_shell_command(
                    "echo on; exec sleep 30",
                    stream_output=lambda *_: loop.call_soon_threadsafe(begun.set),
                )
            )
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

        began = time.monotonic()
        asyncio.run(cancel())
        assert time.monotonic() - began < 20
        assert tools.run_shell_command("echo next")["stdout"] == "next\n"

    def test_many_at_once(self, streaming: older.OlderServer) -> None:
        async def all_of_them() -> Any:
            calls = (aio.run_shell_command(f"echo {number}") for number in range(12))
            return await asyncio.gather(*calls)

        found = [result["stdout"] for result in asyncio.run(all_of_them())]
        assert found == [f"{number}\n" for number in range(12)]

    def test_it_goes_away_in_the_middle(self, streaming: older.OlderServer) -> None:
        def vanish(connection: socket.socket, command: str) -> bool:
            if "vanish" in command:
                older.send(connection, {"type": "chunk", "data": "on\n"})
                connection.shutdown(socket.SHUT_RDWR)
            return "vanish" in command

        streaming.on_command = vanish
        result = tools.run_shell_command("vanish")
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert result["stdout"] == "on\n"
        assert "not known" in result["error"]

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            (b"garbage\n", "not JSON"),
            (b'{"type": "final", "status": "fine"}\n', "'fine'"),
            (b'{"type": "final"}\n', "None"),
        ],
    )
    def test_an_answer_that_is_none(
        self, streaming: older.OlderServer, line: bytes, words: str
    ) -> None:
        def answer(connection: socket.socket, command: str) -> bool:
            if "wrong" in command:
                connection.sendall(line)
            return "wrong" in command

        streaming.on_command = answer
        result = tools.run_shell_command("wrong")
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert words in result["error"]

    def test_a_container_without_base64(self, streaming: older.OlderServer) -> None:
        """What can't be put into a file is not begun."""

        def lack(connection: socket.socket, command: str) -> bool:
            if "base64" in command:
                older.send(connection, {"type": "final", "status": 127, "result": "none\n"})
            return "base64" in command

        streaming.on_command = lack
        result = tools.run_shell_command("touch cut #" + "x" * 5000)
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert "none" in result["error"]

    def test_what_is_no_text_is_not_begun(self, streaming: older.OlderServer) -> None:
        result = tools.run_shell_command("touch here \ud800")
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert "no text" in result["error"]

    def test_it_is_gone(self, folder: Path) -> None:
        """A2"""
        with contextlib.ExitStack() as stack:
            _, port = stack.enter_context(older.serving(folder))
            with using(port):
                assert tools.run_shell_command("true")["success"]
                stack.close()
                assert tools.run_shell_command("true") == unreachable("localhost", port)
                assert tools.run_python_code("1") == unreachable("localhost", port)


def test_a_session_needs_a_newer_server(folder: Path) -> None:
    """What needs a session says so clearly, and what to do."""
    with older.serving(folder) as (_, port):
        settings = tools.create_docker_client(port=port).settings
        for _ in range(2):
            sandbox = Sandbox(settings)
            with pytest.raises(OlderServer) as raised:
                Session(sandbox, "main").client()
            sandbox.stop()
        assert "no Python sessions" in str(raised.value)
        assert "docker_kernel_server" in raised.value.remedy
        assert f":{port}" in str(raised.value)


@pytest.mark.parametrize("asked", ["secret_file", "tls"])
def test_who_asks_for_more_sends_it_no_command(
    asked: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X3, P6: else whoever listens there would only have to say that it is an older server."""
    values: dict[str, Any] = {"secret_file": str(tmp_path / "secret"), "tls": "00" * 32}
    (tmp_path / "secret").write_text("s" * 32)
    # Behind something that adds TLS, an older server is seen as one.
    monkeypatch.setattr("docker_kernel.tls.secure", lambda stream, *_: stream)
    with older.serving(folder) as (server, port):
        with (
            tools.create_docker_client("127.0.0.1", port, **{asked: values[asked]}) as client,
            pytest.raises(NotConnected),
        ):
            client.run(Command("touch here"))
        assert [text for text in server.seen if '"hello"' not in text] == []
        assert not (folder / "here").exists()


# ---- this client's raw commands on this server


def run(server: Server, text: str, **keys: Any) -> Done:
    return RawClient("127.0.0.1", server.port, 10).run(Command(text, **keys))


class TestOnThisServer:
    def test_output_and_exit_code(self, server: Server) -> None:
        done = run(server, "echo out; echo err >&2; exit 3")
        assert (done.exit_code, done.stdout, done.stderr) == (3, "out\nerr\n", "")
        assert not done.success
        assert done.seconds > 0

    def test_folder_environment_and_stdin(self, server: Server) -> None:
        (server.folder / "a b").mkdir()
        keys = {"cwd": "a b", "env": {"X": NASTY, "Y": "2"}, "stdin": NASTY}
        done = run(server, 'pwd; printf "%s" "$X$Y"; cat', **keys)
        assert done.stdout == f"{server.folder.resolve()}/a b\n{NASTY}2{NASTY}"
        assert run(server, "cat").stdout == ""

    def test_a_long_command(self, server: Server) -> None:
        assert run(server, f"printf %s '{'é' * 20_000}' | wc -m").stdout.strip() == "20000"

    def test_a_timeout_ends_the_command(self, server: Server) -> None:
        done = run(server, "echo on; sleep 4321", timeout=2)
        assert (done.exit_code, done.stdout) == (124, "on\n")
        assert gone(server, "sleep 4321")

    def test_nobody_there(self, free_port: int) -> None:
        with pytest.raises(ServerNotThere, match=str(free_port)):
            RawClient("127.0.0.1", free_port, 5).run(Command("true"))


# ---- any program on this server


def words_of_the_page() -> str:
    """The program in docs/protocol.md."""
    page = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")
    chapter = page.partition("\n## Raw commands\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    return str(program)


def test_the_program_on_the_page_works(server: Server) -> None:
    """Fixed point 2: a socket, the bytes of a command, JSON lines until `final`."""
    program = words_of_the_page().replace("8000", str(server.port))
    assert "docker" not in program
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stdout.startswith("hello\nls: ")
    assert (done.stderr, done.returncode) == ("", 2)


BASH = """
exec 3<>/dev/tcp/127.0.0.1/$1
printf %s "$2" >&3
while read -r line <&3; do
    printf '%s\\n' "$line"
    case $line in *'"type":"final"'*) exit;; esac
done
echo "no final"
"""


@pytest.mark.parametrize(
    "command", ["echo héllo", "printf 'a\\nb'; exit 3", "sleep 0.3; echo late"]
)
def test_a_shell_as_a_client(server: Server, command: str) -> None:
    """No JSON library, no half-close: reads of a line at a time are enough."""
    done = subprocess.run(
        ["bash", "-c", BASH, "bash", str(server.port), command],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    *chunks, final = done.stdout.splitlines()
    assert chunks
    assert all('"type":"chunk"' in chunk for chunk in chunks)
    assert '"result":' in final
    assert f'"status":{3 if "exit 3" in command else 0}' in final
