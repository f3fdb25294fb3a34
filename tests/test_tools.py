"""The tools on a true server without a container: A1 to A5 (containers: integration/test_tools)."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import typing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import docker_kernel
from docker_kernel import aio, commands, tools
from docker_kernel.contact import ContainerClient
from docker_kernel.tools import test_docker_connection  # which pytest must not take for a test
from system import alive
from tooling import ALIASES, CALLS, SURFACE, gate, names, using
from wire import PATIENCE, Server, gone, stalled

NASTY = "a'b\"c`d`$e${HOME}$(f)\\g\\n%h!i\tj\r\nk\n\nl 'é🐍€ \u2028 \x0c ;&|<>*?[~#"


@pytest.fixture
def client(server: Server) -> Iterator[ContainerClient]:
    """A client of the server, and in use."""
    with using(server.port) as made:
        yield made


# ---- the surface (A1, A6)


@pytest.mark.parametrize("name", [*SURFACE, *ALIASES])
def test_parameters_and_defaults(name: str) -> None:
    """A1, A6: the same for the coroutine; each is typed, and says what it does."""
    expected = SURFACE[ALIASES.get(name, name)][0]
    for module in (tools, aio):
        function = getattr(module, name)
        parameters = inspect.signature(function).parameters
        assert {
            key: ... if given.default is given.empty else given.default
            for key, given in parameters.items()
        } == expected
        assert inspect.getdoc(function)
        hints = typing.get_type_hints(function)
        assert set(hints) == {*expected, "return"}
    assert inspect.iscoroutinefunction(getattr(aio, name))
    assert getattr(docker_kernel, name) is getattr(tools, name)
    assert name in docker_kernel.__all__
    assert name in tools.__all__
    assert name in aio.__all__


@pytest.mark.usefixtures("client")
def test_keys_of_results() -> None:
    """A1: exactly these, and `error` only where there is more to say."""
    tools.create_log_file("keys.py", "print(1)")
    for name, (_, keys) in SURFACE.items():
        if name == "install_package":
            result = tools.install_package("./no-such-file.whl")
        elif keys:
            arguments = tuple("keys.py" if arg == "made.py" else arg for arg in CALLS.get(name, ()))
            result = getattr(tools, name)(*arguments)
            assert result["success"] is True, result
        else:
            continue
        assert set(result) == keys, name


def test_the_page_says_the_same() -> None:
    """docs/tools.md has each function, its parameters and its keys."""
    page = (Path(__file__).parents[1] / "docs" / "tools.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*)`)? ?\| (?:`(.*)`)? ?\|$", page, re.MULTILINE)
    assert [name for name, *_ in rows] == sorted(SURFACE, key=[row[0] for row in rows].index)
    for name, parameters, keys in rows:
        given = inspect.signature(getattr(tools, name)).parameters.values()
        bare = [str(item.replace(annotation=item.empty)) for item in given]
        assert parameters == ", ".join(bare), name
        assert set(filter(None, keys.split(", "))) == SURFACE[name][1], name
    for alias, name in ALIASES.items():
        assert f"`{alias}` is another name of `{name}`" in page or f"`{alias}` of `{name}`" in page


def test_results_are_typed() -> None:
    """A6: each key of a result stands in its TypedDict."""
    for name, (_, keys) in SURFACE.items():
        if keys:
            made = typing.get_type_hints(getattr(tools, name))["return"]
            assert keys <= set(made.__annotations__) | set(typing.get_type_hints(made)), name
            assert "error" in typing.get_type_hints(made)


def test_names_are_imported_when_they_are_used() -> None:
    """`import docker_kernel` takes nothing along."""
    code = (
        "import sys, docker_kernel; before = set(sys.modules); "
        "from docker_kernel import run_python_code, Settings; "
        "print('traitlets' in before, 'traitlets' in sys.modules, 'docker' in sys.modules); "
        "print(sorted(set(docker_kernel.__all__) - set(dir(docker_kernel))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True False\n[]\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = docker_kernel.nothing


def test_every_public_name_can_be_had() -> None:
    for name in docker_kernel.__all__:
        assert getattr(docker_kernel, name) is not None


# ---- code and commands


@pytest.mark.usefixtures("client")
class TestVerbatim:
    """A3"""

    def test_code(self) -> None:
        code = f"import sys\ntext = {NASTY!r}\nsys.stdout.buffer.write(text.encode())"
        assert tools.run_python_code(code)["stdout"] == NASTY
        raw = "print(r'''a\"b`c`$d${HOME}$(e)\\f\\n%g!''')\nprint('no newline at the end')"
        expected = 'a"b`c`$d${HOME}$(e)\\f\\n%g!\nno newline at the end\n'
        assert tools.run_python_code(raw)["stdout"] == expected

    def test_a_megabyte_of_code(self) -> None:
        code = f"text = '''{'0123456789abcde ' * 65536}'''\nprint(len(text))"
        result = tools.run_python_code(code)
        assert result["stdout"] == "1048576\n"

    def test_a_command(self) -> None:
        text = NASTY.replace("'", "")
        result = tools.run_shell_command(f"printf %s '{text}'")
        assert result["stdout"] == text
        assert result["command"] == f"printf %s '{text}'"

    def test_arguments_and_folders(self, server: Server) -> None:
        folder = server.folder / "a 'folder' with $HOME"
        script = "import json, os, sys\nprint(json.dumps([sys.argv, os.getcwd()]))"
        tools.create_log_file(f"{folder.name}/a script.py", script)
        given = ["a b", "$HOME", "`x`", "'", '"', "\\", "", "-v", "new\nline", "é", NASTY]
        result = tools.run_python_script("a script.py", given, folder.name)
        assert json.loads(result["stdout"]) == [["a script.py", *given], str(folder.resolve())]
        assert result["working_dir"] == str(folder)
        again = tools.run_python_script(f"{folder}/a script.py")
        assert json.loads(again["stdout"])[0] == [f"{folder}/a script.py"]
        assert again["working_dir"] == str(server.folder)

    def test_a_script_whose_name_begins_with_a_dash(self) -> None:
        tools.create_log_file("-c", "print('ran')")
        assert tools.run_python_script("-c")["stdout"] == "ran\n"

    def test_numbers_as_arguments(self) -> None:
        tools.create_log_file("args.py", "import sys; print(sys.argv[1:])")
        arguments = typing.cast("list[str]", [5, 1.5])
        assert tools.run_python_script("args.py", arguments)["stdout"] == "['5', '1.5']\n"

    def test_one_string_is_no_list_of_arguments(self) -> None:
        with pytest.raises(TypeError, match="a list"):
            tools.run_python_script("args.py", typing.cast("list[str]", "--count 5"))

    def test_a_file(self, server: Server) -> None:
        """create_log_file and append_to_log: to the letter, folders made, what was there gone."""
        path = "logs/of 'today'/-a.log"
        assert tools.create_log_file(path, "old")["success"]
        assert tools.create_log_file(path, NASTY)["success"]
        assert tools.append_to_log(path, NASTY) == {"success": True, "file_path": path}
        assert (server.folder / path).read_bytes().decode() == NASTY * 2
        assert tools.create_log_file(path)["success"]
        assert (server.folder / path).read_bytes() == b""
        assert tools.append_to_log("new.log", "first\n")["success"]

    def test_a_file_that_cannot_be_written(self) -> None:
        result = tools.create_log_file("/proc/nothing/here", "text")
        assert set(result) == {"success", "file_path", "error"}
        assert not result["success"]
        assert "/proc/nothing" in result["error"]


@pytest.mark.usefixtures("client")
class TestPython:
    """run_python_code"""

    def test_a_traceback_has_the_lines_of_the_code_and_none_of_ours(self) -> None:
        result = tools.run_python_code("def f():\n    1 / 0  # here\n\nprint('on')\nf()\n")
        assert (result["success"], result["exit_code"]) == (False, 1)
        assert result["stdout"] == "on\n"
        lines = result["stderr"].splitlines()
        assert lines[:3] == [
            "Traceback (most recent call last):",
            '  File "<code>", line 5, in <module>',
            "    f()",
        ]
        assert "    1 / 0  # here" in lines
        assert lines[-1] == "ZeroDivisionError: division by zero"
        assert result["stderr"].count("File ") == 2

    def test_a_syntax_error_names_its_line(self) -> None:
        result = tools.run_python_code("x = 1\nif x\n")
        assert 'File "<code>", line 2' in result["stderr"]
        assert "    if x\n" in result["stderr"]
        assert result["stderr"].count("File ") == 1

    def test_it_is_a_main_module_of_its_own(self, server: Server) -> None:
        (server.folder / "json.py").write_text("raise SystemExit('the wrong one')")
        (server.folder / "mine.py").write_text("value = 5")
        code = (
            "import __main__, pickle, mine\nclass C: pass\n"
            "assert pickle.loads(pickle.dumps(C())) is not None\n"
            "print(__name__, __main__.C is C, mine.value)\n"
            "print(sorted(name for name in globals() if not name.startswith('__')))"
        )
        assert tools.run_python_code(code)["stdout"] == "__main__ True 5\n['C', 'mine', 'pickle']\n"
        assert tools.list_installed_packages()["success"]
        assert tools.get_environment_info()["success"]
        (server.folder / "json.py").unlink()

    @pytest.mark.parametrize(
        ("code", "exit_code", "stderr"),
        [
            ("raise SystemExit", 0, ""),
            ("import sys; sys.exit(7)", 7, ""),
            ("import sys; sys.exit('bye')", 1, "bye\n"),
            ("import os; os._exit(3)", 3, ""),
            ("", 0, ""),
        ],
    )
    def test_how_it_ends(self, code: str, exit_code: int, stderr: str) -> None:
        result = tools.run_python_code(code)
        assert (result["exit_code"], result["stderr"]) == (exit_code, stderr)
        assert result["success"] is (exit_code == 0)
        assert "error" not in result

    def test_nothing_is_kept_between_calls(self) -> None:
        assert tools.run_python_code("x = 1")["success"]
        assert "NameError" in tools.run_python_code("print(x)")["stderr"]

    def test_input_fails_at_once(self) -> None:
        assert "EOFError" in tools.run_python_code("input()")["stderr"]

    def test_what_was_printed_before_a_timeout_is_there(self) -> None:
        """O2: also without a newline."""
        result = tools.run_python_code("import time; print('half', end=''); time.sleep(60)", 1)
        assert (result["stdout"], result["exit_code"]) == ("half", 124)

    def test_code_that_is_no_text_is_refused(self) -> None:
        result = tools.run_python_code("print('\ud800')")
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert "surrogate" in result["error"]


def test_every_python(each_python: str, tmp_path: Path) -> None:
    """K10: the programs that the tools send run from Python 3.8 on."""
    with Server(tmp_path, python=each_python) as server, using(server.port):
        version = tools.get_environment_info()["python_version"]
        assert each_python.endswith(version.rpartition(".")[0])
        result = tools.run_python_code("def f():\n    1 / 0  # here\nf()")
        assert "\n    1 / 0  # here\n" in result["stderr"]
        assert result["stderr"].count("File ") == 2
        assert tools.list_installed_packages()["success"]
        tools.create_log_file("a.py", "x = (\n")
        assert tools.check_python_syntax("a.py")["valid_syntax"] is False
        assert tools.run_python_script("a.py")["exit_code"] == 1


# ---- how a command ends


@pytest.mark.usefixtures("client")
class TestEndings:
    """O7: exit code, signal, timeout and transport failure are told apart."""

    @pytest.mark.parametrize("code", [0, 1, 3, 124, 130, 255])
    def test_exit_codes(self, code: int) -> None:
        result = tools.run_shell_command(f"exit {code}")
        assert result["exit_code"] == code
        assert result["success"] is (code == 0)
        assert "error" not in result

    @pytest.mark.parametrize(("name", "number"), [("TERM", 15), ("KILL", 9), ("SEGV", 11)])
    def test_signals(self, name: str, number: int) -> None:
        result = tools.run_shell_command(f"echo on; kill -{name} $$")
        assert result["exit_code"] == 128 + number
        assert f"signal {number}" in result["error"]
        assert ("memory" in result["error"]) is (number == 9)
        assert result["stdout"] == "on\n"

    def test_a_timeout_holds_for_its_call_alone(self, server: Server) -> None:
        """A4, C1, C6"""
        result = tools.run_shell_command("echo on; sleep 4321", timeout=2)
        assert (result["success"], result["exit_code"]) == (False, 124)
        assert result["stdout"] == "on\n"
        assert "2 s" in result["error"]
        assert result["execution_time"] < PATIENCE
        assert gone(server, "sleep 4321")
        assert tools.run_shell_command("sleep 1")["success"]
        assert tools.run_shell_command("sleep 1", timeout=None)["success"]
        with ThreadPoolExecutor(2) as pool:
            short = pool.submit(tools.run_python_code, "import time; time.sleep(60)", 0.5)
            long = pool.submit(tools.run_python_code, "import time; time.sleep(1.5)", 60)
            assert short.result()["exit_code"] == 124
            assert long.result()["success"]

    def test_a_timeout_that_is_none(self) -> None:
        result = tools.run_shell_command("touch never", timeout=-1)
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert "timeout" in result["error"]

    def test_the_time_it_took(self) -> None:
        """O8"""
        began = time.monotonic()
        took = tools.run_shell_command("sleep 1")["execution_time"]
        assert 1 <= took <= time.monotonic() - began

    def test_a_folder_that_is_not_there(self) -> None:
        result = tools.run_shell_command("touch here", working_dir="/no/such/folder")
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert "/no/such/folder" in result["error"]

    def test_a_background_process_goes_on(self) -> None:
        """O5"""
        result = tools.run_shell_command("sleep 4323 & echo $!")
        assert result["execution_time"] < PATIENCE
        pid = int(result["stdout"])
        assert tools.run_shell_command("true")["success"]
        assert alive(pid)
        os.kill(pid, signal.SIGKILL)


# ---- output


@pytest.mark.usefixtures("client")
class TestOutput:
    """O1 to O4, and streaming."""

    def test_stdout_and_stderr_are_apart(self) -> None:
        result = tools.run_shell_command("echo out; echo err >&2; echo more")
        assert (result["stdout"], result["stderr"]) == ("out\nmore\n", "err\n")

    def test_bytes_that_are_no_text(self) -> None:
        """O3"""
        result = tools.run_shell_command(r"printf 'a\377b\000c\303('; exit 5")
        assert result["stdout"] == "a\ufffdb\x00c\ufffd("
        assert result["exit_code"] == 5

    def test_a_large_output_comes_whole(self) -> None:
        """O4"""
        result = tools.run_shell_command("yes 0123456789abcde | head -n 2000000; echo end >&2")
        assert len(result["stdout"]) == 32_000_000
        assert result["stdout"].endswith("0123456789abcde\n")
        assert result["stderr"] == "end\n"

    def test_what_is_cut_is_marked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """O4: each stream by itself; what streams is whole."""
        monkeypatch.setattr(commands, "MAX_KEPT_CHARS", 1000)
        streamed = io.StringIO()
        result = tools.run_shell_command(
            "yes 0123456789abcde | head -n 1000; printf %01000d 0 >&2",
            stream_output=lambda stream, text: stream == "stdout" and streamed.write(text),
        )
        mark = "\n[stdout is cut here, at 1000 characters]\n"
        assert result["stdout"] == ("0123456789abcde\n" * 63)[:1000] + mark
        assert result["stderr"] == "0" * 1000
        assert len(streamed.getvalue()) == 16_000

    def test_a_callback_gets_output_as_it_comes(self, tmp_path: Path) -> None:
        """The command goes on only after the callback has opened the gate."""
        wait, path = gate(tmp_path)
        seen: list[tuple[str, str]] = []
        me = threading.current_thread()

        def take(stream: str, text: str) -> None:
            assert threading.current_thread() is me
            if not seen:
                path.write_text("on\n")
            seen.append((stream, text))

        command = f"printf half; {wait}; echo $x >&2"
        result = tools.run_shell_command(command, stream_output=take)
        assert seen == [("stdout", "half"), ("stderr", "on\n")]
        assert (result["stdout"], result["stderr"]) == ("half", "on\n")

    def test_true_streams_to_the_standard_streams(self, capsys: pytest.CaptureFixture[str]) -> None:
        code = "import sys\nprint('é out')\nprint('err', file=sys.stderr)"
        result = tools.run_python_code(code, stream_output=True)
        printed = capsys.readouterr()
        assert (printed.out, printed.err) == ("é out\n", "err\n")
        assert (result["stdout"], result["stderr"]) == ("é out\n", "err\n")
        tools.run_python_code(code)
        assert capsys.readouterr().out == ""

    def test_a_console_that_lacks_a_character(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written = io.BytesIO()
        console = io.TextIOWrapper(written, encoding="latin-1")
        monkeypatch.setattr(sys, "stdout", console)
        assert tools.run_shell_command("printf 'é€'", stream_output=True)["stdout"] == "é€"
        assert written.getvalue() == b"\xe9?"

    def test_a_terminal_gets_text_and_colours_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        written = io.BytesIO()
        terminal = io.TextIOWrapper(written, encoding="utf-8")
        monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdout", terminal)
        trick = r"\033[31mred\033[0m \033]52;c;cm0=\007\033[6nend"
        result = tools.run_shell_command(f"printf '{trick}'", stream_output=True)
        assert written.getvalue() == b"\x1b[31mred\x1b[0m end"
        assert "\x1b]52" in result["stdout"]

    def test_what_a_callback_raises_ends_the_command(self, server: Server) -> None:
        def fail(_stream: str, _text: str) -> None:
            raise TimeoutError("mine")

        with pytest.raises(TimeoutError, match="mine"):
            tools.run_shell_command("echo on; sleep 4321", stream_output=fail)
        assert gone(server, "sleep 4321")

    def test_a_callback_may_call_a_tool(self) -> None:
        inner: list[str] = []

        def ask(_stream: str, text: str) -> None:
            inner.append(tools.run_shell_command(f"echo inner {text}")["stdout"])

        tools.run_shell_command("printf outer", stream_output=ask)
        assert inner == ["inner outer\n"]

    def test_a_slow_callback_slows_its_own_command_alone(self) -> None:
        """P9, O4: the command waits in the container; nothing piles up here."""
        first, free = threading.Event(), threading.Event()
        pids: list[int] = []

        def slow(_stream: str, text: str) -> None:
            if not first.is_set():
                pids.append(int(text.split()[0]))
                first.set()
            free.wait(PATIENCE)

        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(
                tools.run_shell_command, "echo $$; exec seq 5000000", stream_output=slow
            )
            try:
                assert first.wait(PATIENCE)
                stalled(pids[0])
                assert alive(pids[0])
                assert tools.run_shell_command("echo other")["stdout"] == "other\n"
                assert not call.done()
            finally:
                free.set()
            result = call.result()
        assert result["success"]
        assert result["stdout"].endswith("\n5000000\n")


# ---- packages, files, the environment


@pytest.mark.usefixtures("client")
class TestQuestions:
    def test_the_failure_of_pip_is_a_failure(self, tmp_path: Path) -> None:
        """A5"""
        result = tools.install_package(str(tmp_path / "no such file.whl"))
        assert (result["success"], result["installed"]) == (False, False)
        assert "no such file.whl" in result["stdout"] + result["stderr"]

    def test_a_package_is_no_option(self) -> None:
        result = tools.install_package("--version")
        assert not result["success"]
        assert "Invalid requirement" in result["stderr"]

    def test_pips_words(self) -> None:
        upgrade = tools.install_package("./nothing here", upgrade=True)["command"]
        assert upgrade.endswith("install --upgrade -- './nothing here'")
        assert "-m pip" in upgrade

    def test_conda_where_there_is_none(self) -> None:
        result = tools.install_package("numpy", use_pip=False)
        assert (result["success"], result["installed"]) == (False, False)
        assert "conda" in result["stderr"]
        assert result["command"] == "conda install --yes numpy"

    def test_packages(self) -> None:
        result = tools.list_installed_packages()
        names = [package["name"].lower() for package in result["packages"]]
        assert names == sorted(names, key=lambda name: name.replace("_", "-").replace(".", "-"))
        assert result["total_count"] == len(names) == len(set(names))
        pytest_here = {"name": "pytest", "version": pytest.__version__}
        assert pytest_here in typing.cast("list[Any]", result["packages"])

    @pytest.mark.parametrize(
        ("source", "line", "column"),
        [
            (b"x = 1\nprint(x))\n", 2, 9),
            (b"if True:\nx = 1\n", 2, 1),
            (b"x = '\xff'", None, None),
            (b"x = 1\0", None, None),
        ],
    )
    def test_a_file_with_an_error(
        self, server: Server, source: bytes, line: int | None, column: int | None
    ) -> None:
        """A5: and no .pyc is written."""
        (server.folder / "wrong").mkdir(exist_ok=True)
        (server.folder / "wrong" / "a b.py").write_bytes(source)
        result = tools.check_python_syntax("wrong/a b.py")
        assert (result["success"], result["valid_syntax"]) == (True, False)
        found = result["syntax_error"]
        assert found is not None
        assert found["message"]
        if line is not None:
            assert (found["line"], found["column"]) == (line, column)
        assert names(server.folder / "wrong") == ["a b.py"]

    def test_a_good_file_is_not_run(self, server: Server) -> None:
        """A5"""
        folder = server.folder / "good"
        folder.mkdir()
        (folder / "a.py").write_text("# coding: latin-1\nopen('ran', 'w')\nx = '\\d'\n")
        assert tools.check_python_syntax(str(folder / "a.py")) == {
            "success": True,
            "valid_syntax": True,
            "file_path": str(folder / "a.py"),
            "syntax_error": None,
        }
        assert names(folder) == ["a.py"]

    def test_a_file_that_is_not_there(self) -> None:
        result = tools.check_python_syntax("nowhere.py")
        assert not result["success"]
        assert result["error"] == "nowhere.py: No such file or directory"

    def test_the_environment(self, server: Server) -> None:
        result = tools.get_environment_info()
        assert result["python_version"] == ".".join(map(str, sys.version_info[:3]))
        assert (result["docker_host"], result["docker_port"]) == ("localhost", server.port)
        assert result["execution_mode"] == "Docker Container"
        assert result["platform_system"] == "Linux"
        assert result["working_directory"] == str(server.folder)

    def test_the_connection(self, server: Server) -> None:
        result = test_docker_connection()
        assert result["success"]
        assert (result["host"], result["port"]) == ("localhost", server.port)
        assert f"localhost:{server.port}" in result["message"]
        assert result["output"] == f"hello from Linux, {server.folder}"
        assert result["error"] == ""
