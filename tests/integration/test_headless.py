"""Notebooks without a browser, by the programs that people use for it, as they come (K8)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Notebook = dict[str, Any]

SPEC = {"name": "docker", "display_name": "Python 3 (Docker)", "language": "python"}

WITH_NBCLIENT = """
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read("in.ipynb", 4)
NotebookClient(notebook).execute()
nbformat.write(notebook, "out.ipynb")
"""


def write(path: Path, *sources: str) -> None:
    """A notebook for our kernelspec, which is installed with the project."""
    cells: list[Notebook] = [
        {
            "cell_type": "code",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for source in sources
    ]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    notebook = {"cells": cells, "metadata": {"kernelspec": SPEC}, "nbformat": 4}
    path.write_text(json.dumps({**notebook, "nbformat_minor": 4}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.chown(tmp_path, 1000, 1000)
    printing = "import os\nprint(os.getcwd())\nprint('a second line')"
    write(tmp_path / "in.ipynb", "alpha = 1", printing, "alpha * 2")
    return tmp_path


def run(folder: Path, image: str, *command: str) -> tuple[int, str, Notebook]:
    """Exit code and output of a program of this Python's, and the notebook that it wrote."""
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "IPYTHONDIR": str(folder / "ipython"),
        "DOCKER_KERNEL_IMAGE": image,
    }
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    written = folder / "out.ipynb"
    assert written.exists(), done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr, json.loads(written.read_text())


def text(cell: Notebook) -> str:
    """What a cell has printed, or its value."""
    parts = [out.get("text") or out["data"]["text/plain"] for out in cell["outputs"]]
    return "".join("".join(part) for part in parts)


@pytest.mark.parametrize(
    "command",
    [
        ["jupyter", "execute", "in.ipynb", "--output=out.ipynb"],
        [sys.executable, "-c", WITH_NBCLIENT],
    ],
    ids=["jupyter execute", "nbclient"],
)
def test_a_notebook(folder: Path, image: str, command: list[str]) -> None:
    code, said, notebook = run(folder, image, *command)
    assert code == 0, said
    assert [text(cell) for cell in notebook["cells"]] == ["", "/workspace\na second line\n", "2"]
    assert [cell["execution_count"] for cell in notebook["cells"]] == [1, 2, 3]


def test_papermill_with_a_parameter(folder: Path, image: str) -> None:
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "-p", "alpha", "21"]
    code, said, notebook = run(folder, image, *command)
    assert code == 0, said
    assert text(notebook["cells"][-1]) == "42"
    assert notebook["metadata"]["papermill"]["parameters"] == {"alpha": 21}


def test_papermill_and_a_cell_that_fails(folder: Path, image: str) -> None:
    write(folder / "in.ipynb", "alpha = 1", "1 / 0", "alpha")
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb"]
    code, said, notebook = run(folder, image, *command)
    assert code == 1
    assert "ZeroDivisionError" in said
    assert notebook["cells"][-1]["execution_count"] is None
