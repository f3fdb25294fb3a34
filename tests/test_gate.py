"""Verification by all ways in (V1): nothing of what is refused is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_kernel import aio, tools
from docker_kernel.cli import main
from docker_kernel.contact import ContainerClient
from kernels import Kernel, OrdinaryKernel
from tooling import using
from wire import Server

BLOCKED = ("eval", "os.system")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="module")
def kernel(server: Server, folder: Path) -> Iterator[Kernel]:
    rules = [f"--blocked-functions={name}" for name in BLOCKED]
    log = f"--audit-log={folder / 'audit.log'}"
    work = folder / "kernel"
    work.mkdir()
    with Kernel("--mode=attached", f"--port={server.port}", log, *rules, folder=work) as running:
        yield running


def test_a_cell_that_is_refused(kernel: Kernel, server: Server, folder: Path) -> None:
    """V1, V2: an ordinary error, with the line; nothing was sent, and Run All stops."""
    cell = kernel.run("open('made', 'w')\n%time x = 1\nx = eval('1')")
    assert cell.status == "error"
    assert cell.reply["content"]["ename"] == "CodeRefused"
    assert "----> 3 x = eval('1')" in cell.error
    assert "blocked_functions has eval" in cell.error
    assert not (server.folder / "made").exists()
    log = (folder / "audit.log").read_text()
    found = [json.loads(line) for line in log.splitlines()]
    assert [row["event"] for row in found if row["kind"] == "cell"] == ["refused"]
    assert "eval" not in log


def test_a_cell_that_is_let_through(kernel: Kernel) -> None:
    assert kernel.run("%time x = 41\nx + 1").result == "42"
    assert kernel.run("import os as o").status == "ok"
    refused = kernel.run("o.system('touch made')")
    assert "os.system is refused" in refused.error
    # The kernel lives, and counts on.
    assert kernel.run("x").result == "41"


def test_expressions_are_code_as_well(kernel: Kernel) -> None:
    cell = kernel.run("pass", user_expressions={"a": "eval('1')"})
    assert "eval is refused" in cell.error


def test_magics(server: Server, tmp_path: Path) -> None:
    """V1: %%docker, with its own lines; a shell command but pip's isn't run."""
    env = {
        "DOCKER_KERNEL_MODE": "attached",
        "DOCKER_KERNEL_PORT": str(server.port),
        "DOCKER_KERNEL_BLOCKED_FUNCTIONS": ",".join(BLOCKED),
    }
    with OrdinaryKernel(folder=tmp_path, env=env) as kernel:
        kernel.run("%load_ext docker_kernel")
        refused = kernel.run("%%docker\nx = 1\neval('1')")
        assert "----> 3 eval('1')" in refused.error
        assert "NameError" in kernel.run("%%docker\nx").error
        assert "is refused" in kernel.run("%%docker --background\neval('1')").error
        assert "is refused" in kernel.run("%%docker --shell\ntouch made").error
        assert "is refused" in kernel.run("%%docker --shell --background\ntouch made").error
        assert kernel.run("%%docker --shell\npython3 -m pip --version").status == "ok"
    assert not (server.folder / "made").exists()


def test_a_notebook(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """V1: docker-kernel run."""
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "metadata": {},
            "outputs": [],
            "source": code,
            "execution_count": None,
        }
        for code in ("print(1)", "x = 1\neval('1')")
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    path = tmp_path / "one.ipynb"
    path.write_text(json.dumps(notebook))
    place = ["--mode=attached", f"--port={server.port}"]
    assert main(["run", str(path), *place, "--blocked-functions=eval"]) == 1
    printed = capsys.readouterr()
    assert "----> 2 eval('1')" in printed.out
    assert "CodeRefused" in printed.err


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[ContainerClient]:
    log = str(tmp_path / "tools.log")
    with using(server.port, blocked_functions=list(BLOCKED), audit_log=log) as made:
        yield made


@pytest.mark.usefixtures("client")
def test_tools(server: Server, tmp_path: Path) -> None:
    """V1: a result like any other, with what is wrong."""
    refused = tools.run_python_code("open('made', 'w')\neval('1')")
    assert (refused["success"], refused["exit_code"]) == (False, -1)
    assert "----> 2 eval('1')" in refused["error"]
    assert tools.run_python_code("print(1)")["stdout"] == "1\n"
    assert "is refused" in tools.run_shell_command("touch made")["error"]
    assert tools.run_shell_command("python3 -m pip --version")["success"]
    assert tools.get_environment_info()["success"]
    assert tools.create_log_file("note", "text")["success"]
    assert not (server.folder / "made").exists()
    found = [json.loads(line) for line in (tmp_path / "tools.log").read_text().splitlines()]
    refusals = [row["kind"] for row in found if row["event"] == "refused"]
    assert refusals == ["code", "command"]


@pytest.mark.usefixtures("client")
def test_scripts(server: Server) -> None:
    """V1: the file is read first, as Python decodes it, from the folder that it runs in."""
    below = server.folder / "below"
    below.mkdir()
    (below / "bad.py").write_bytes("# coding: latin-1\n'é'\neval('1')".encode("latin-1"))
    (below / "good.py").write_text("print(2)")
    refused = tools.run_python_script("bad.py", working_dir="below")
    assert "----> 3 eval('1')" in refused["error"]
    assert tools.run_python_script("good.py", working_dir="below")["stdout"] == "2\n"
    missing = tools.run_python_script("missing.py")
    assert "missing.py" in missing["stderr"]


@pytest.mark.usefixtures("client")
def test_coroutines() -> None:
    assert "eval is refused" in asyncio.run(aio.run_python_code("eval('1')"))["error"]
