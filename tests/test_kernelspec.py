"""The kernelspec that is shipped."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from docker_kernel.cli.install import DEFAULT_DISPLAY_NAME, LOGOS
from docker_kernel.kernelspec import kernel_argv

FOLDER = Path(__file__).parents[1] / "kernelspec"


def test_kernel_json() -> None:
    spec = json.loads((FOLDER / "kernel.json").read_text())
    assert spec["argv"] == kernel_argv(python="python")
    assert spec["display_name"] == DEFAULT_DISPLAY_NAME == "Python 3 (Docker)"
    assert spec["language"] == "python"
    assert spec["interrupt_mode"] == "message"


@pytest.mark.parametrize("path", ["", ":/more", "/more:", "."])
def test_nothing_of_the_notebooks_folder_is_imported(path: str, tmp_path: Path) -> None:
    """Cells write there; and an empty part of PYTHONPATH is that folder, by its name."""
    for name in ("argparse", "docker_kernel", "jupyter_core", "traitlets"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'a').write(__name__)")
    argv = [word for word in kernel_argv(["--version"]) if word not in ("-f", "{connection_file}")]
    done = subprocess.run(
        argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=False
    )
    assert not (tmp_path / "imported").exists(), done.stderr
    assert done.returncode == 0, done.stderr


def test_only_what_jupyter_knows_is_shipped() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"kernel.json", *LOGOS}


@pytest.mark.parametrize("size", [32, 64])
def test_png_logos_have_their_size(size: int) -> None:
    data = (FOLDER / f"logo-{size}x{size}.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (size, size)


def test_svg_logo() -> None:
    root = ElementTree.fromstring((FOLDER / "logo-svg.svg").read_text())  # noqa: S314
    assert root.tag.endswith("svg")
