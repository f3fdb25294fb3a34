"""%docker in the docker kernel, on a true server without a container.

What a container has to do with it is in integration/test_managed.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernels import Cell, Kernel
from wire import Server


@pytest.fixture(scope="module")
def kernel(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    with Kernel("--mode=attached", f"--port={server.port}", folder=folder) as running:
        running.run("1")
        yield running


def shown(cell: Cell) -> str:
    """The text of what a cell displays."""
    found = [m["content"]["data"] for m in cell.messages if m["msg_type"] == "display_data"]
    return "\n".join(data["text/plain"] for data in found)


def test_what_a_cell_shows(kernel: Kernel) -> None:
    """The messages are those of any cell: its table as text and as HTML, and an ordinary reply."""
    cell = kernel.run("# how is it?\n%docker")
    assert cell.kinds() == ["status", "execute_input", "display_data", "status"]
    assert cell.reply["content"]["status"] == "ok"
    assert cell.reply["content"]["payload"] == []
    data = cell.messages[2]["content"]["data"]
    assert "attached to the server at" in data["text/plain"]
    assert "up 00:" in data["text/plain"]
    assert "<table>" in data["text/html"]


def test_it_is_not_counted(kernel: Kernel) -> None:
    before = kernel.run("1").reply["content"]["execution_count"]
    assert kernel.run("%docker").reply["content"]["execution_count"] == before + 1
    assert kernel.run("1").reply["content"]["execution_count"] == before + 1


def test_several_lines_in_order(kernel: Kernel) -> None:
    text = shown(kernel.run("%docker sessions\n%docker limits"))
    assert text.index("this notebook") < text.index("processes and threads")
    assert f"kernel-{kernel.folder.name}" in text
    assert "whoever started the server" in text
    assert "not ours to see" in shown(kernel.run("%docker logs"))


def test_restart_drops_the_variables(kernel: Kernel) -> None:
    kernel.run("x = 1")
    assert "variables are gone" in shown(kernel.run("%docker restart"))
    cell = kernel.run("x")
    assert cell.reply["content"]["ename"] == "NameError"
    assert cell.reply["content"]["execution_count"] == 1


def test_an_error_is_the_cells_own(kernel: Kernel) -> None:
    """So that Run All stops; and where a line can't be read, none is done."""
    kernel.run("x = 1")
    cell = kernel.run("%docker restart\n%docker strat")
    assert cell.reply["content"]["ename"] == "UsageError"
    assert "there are status, " in cell.error
    assert "%docker?" in cell.error
    assert "Traceback" not in cell.error
    assert kernel.run("x").result == "1"


@pytest.mark.parametrize("code", ["%docker?", "%docker --help", "?%docker"])
def test_help_is_for_the_pager(kernel: Kernel, code: str) -> None:
    (page,) = kernel.run(code).reply["content"]["payload"]
    assert page["source"] == "page"
    assert "%docker restart" in page["data"]["text/plain"]
    assert "%docker restart" in kernel.ask("inspect", code, 3)["data"]["text/plain"]


def test_completion(kernel: Kernel) -> None:
    reply = kernel.ask("complete", "%docker re", 10)
    assert "restart" in reply["matches"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (8, 10)
    # The first word is among the session's own magics.
    assert "%docker" in kernel.ask("complete", "%dock", 5)["matches"]


def test_silent(kernel: Kernel) -> None:
    assert kernel.run("%docker", silent=True).kinds() == ["status", "status"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\n%docker status", "nothing but %docker lines"),
        ("%%docker\n1", "leave out the first line"),
    ],
)
def test_in_the_container_it_says_where_it_belongs(kernel: Kernel, code: str, words: str) -> None:
    cell = kernel.run(code)
    assert cell.status == "error"
    assert words in cell.text("stderr")


@pytest.mark.parametrize("line", ["reset", "image python:3.12", "commit mine", "freeze"])
def test_what_needs_a_container_of_ours(kernel: Kernel, line: str) -> None:
    """It says so, and why."""
    cell = kernel.run(f"%docker {line}")
    assert cell.reply["content"]["ename"] == "UsageError"
    assert "was not done" in cell.error
    assert "To mend it" in cell.error


def test_without_an_engine(tmp_path: Path) -> None:
    """Where the code runs on this machine, there is no container to speak of."""
    env = {"DOCKER_HOST": f"unix://{tmp_path}/nowhere.sock"}
    with Kernel("--mode=auto", folder=tmp_path, env=env) as kernel:
        kernel.run("x = 1")
        assert "its mode is local" in kernel.run("%docker image python:3.12").error
        assert "without a container" in kernel.run("%docker commit mine").error
        assert kernel.run("x").result == "1"
        assert "fresh server" in shown(kernel.run("%docker reset"))
        assert kernel.run("x").reply["content"]["ename"] == "NameError"
