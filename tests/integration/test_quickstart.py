"""The example, headless in a container, as a person's first command runs it."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("quickstart")
    os.chown(made, 1000, 1000)
    shutil.copy(EXAMPLE, made)
    return made


@pytest.fixture(scope="module")
def printed(image: str, folder: Path) -> str:
    """What `docker-kernel run` prints."""
    program = "import sys; from docker_kernel.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "quickstart.ipynb", "--image", image],
        cwd=folder,
        env={**os.environ, "IPYTHONDIR": str(folder / "ipython")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_cells_and_outputs_are_printed(printed: str) -> None:
    assert "# A notebook in a container" in printed
    assert "│ total = sum(numbers)" in printed
    assert "add up to 140\n" in printed
    assert "[####################] 100%\n" in printed
    assert "[image/png, " in printed
    assert "hello from Linux" in printed
    assert "caught: list index out of range\n" in printed
    assert "quickstart.executed.ipynb" in printed


def test_it_was_a_container(printed: str) -> None:
    assert "in a container: yes\n" in printed
    assert "user and group: 1000:1000\n" in printed
    assert "memory:         2048 MiB\n" in printed
    assert "processes:      512\n" in printed
    assert " there\n" not in printed


@pytest.mark.usefixtures("printed")
def test_the_executed_notebook(folder: Path) -> None:
    notebook = nbformat.read(folder / "quickstart.executed.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [
        output.data["image/png"]
        for cell in code
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1
    assert base64.b64decode(pictures[0]).startswith(b"\x89PNG\r\n\x1a\n")


def test_the_example_is_shipped_clean() -> None:
    notebook = nbformat.read(EXAMPLE, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
