"""One JupyterLab and one browser for all tests in a browser."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Engine
from lab import Gate, Lab, Notebook, find_browser
from system import CannotError


@pytest.fixture(scope="session")
def lab(engine_if_any: Engine | None) -> Iterator[Lab]:
    """JupyterLab in a browser. Its kernels find the engine, where there is one."""
    try:
        find_browser()
    except CannotError as exc:
        pytest.skip(str(exc))
    env = {"DOCKER_HOST": engine_if_any.host} if engine_if_any else {}
    # Not pytest's own folder, which stays: that the profile can be removed is part of the tests.
    with tempfile.TemporaryDirectory(prefix="docker-kernel-lab-") as home:
        Path(home).chmod(0o755)  # a container's user finds the notebooks in it
        with Lab(Path(home), env) as running:
            yield running


@pytest.fixture(scope="session")
def container_lab(lab: Lab, notebook_image: str) -> Lab:
    """The same; kernels and magics run their cells in containers of the image with widgets."""
    config = lab.server.config / "docker_kernel_config.py"
    config.write_text(f"c.Settings.image = {notebook_image!r}\n", encoding="utf-8")
    return lab


@pytest.fixture(scope="module")
def notebook(container_lab: Lab) -> Notebook:
    """A notebook whose cells run in a container."""
    return container_lab.open("docker.ipynb", "docker")


@pytest.fixture
def gate(lab: Lab) -> Iterator[Gate]:
    """What a cell waits at until the test opens it."""
    with Gate(lab.server.folder / "gate") as made:
        yield made
