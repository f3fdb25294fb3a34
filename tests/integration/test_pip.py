"""pip in a container, without root: %pip, and what people do with pip besides."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from kernels import Kernel

SCRIPT = "zz-hello"
INSTALL = "--no-index --no-deps /workspace/zz-1-py3-none-any.whl"


def make_wheel(folder: Path) -> None:
    """A package with a module and a script, so that no index is needed."""
    info = "zz-1.dist-info"
    with zipfile.ZipFile(folder / "zz-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("zz.py", "def hello():\n    print('hello from', __file__)\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: zz\nVersion: 1\n")
        tags = "Wheel-Version: 1.0\nGenerator: me\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{SCRIPT} = zz:hello\n")
        names = ["zz.py", *(f"{info}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt"))]
        wheel.writestr(f"{info}/RECORD", "".join(f"{n},,\n" for n in [*names, f"{info}/RECORD"]))


@pytest.fixture(scope="module")
def venv_image(image: str, docker_client: docker.DockerClient) -> str:
    """An image whose Python is a virtual environment of root's, with a PYTHONPATH of its own."""
    repository, tag = "docker-kernel-test/venv", image.rpartition(":")[2]
    if docker_client.images.list(name=f"{repository}:{tag}"):
        return f"{repository}:{tag}"
    make = "python3 -m venv /opt/venv && mkdir /opt/extra && echo 'found = 1' > /opt/extra/extra.py"
    container = docker_client.containers.run(image, ["sh", "-c", make], detach=True)
    try:
        assert container.wait()["StatusCode"] == 0
        path = "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
        changes = f"ENV PATH={path}\nENV PYTHONPATH=/opt/extra"
        container.commit(repository, tag, changes=changes)
    finally:
        container.remove()
    return f"{repository}:{tag}"


@pytest.fixture(params=["image", "old_image", "venv_image"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel of an ordinary user in each of the images."""
    name: str = request.getfixturevalue(request.param)
    os.chown(tmp_path, 1000, 1000)
    make_wheel(tmp_path)
    with Kernel(f"--image={name}", folder=tmp_path) as running:
        yield running


def run(kernel: Kernel, code: str) -> str:
    cell = kernel.run(code)
    assert cell.status == "ok", cell
    return cell.text()


def shell(kernel: Kernel, command: str) -> str:
    """Both outputs of a command; not by "!", which the plain shell hasn't."""
    how = "shell=True, stdout=-1, stderr=-2, text=True"
    return run(kernel, f"import subprocess\nprint(subprocess.run({command!r}, {how}).stdout)")


def test_what_pip_installs_can_be_imported_at_once(
    kernel: Kernel, request: pytest.FixtureRequest
) -> None:
    """K6: %pip in a cell, import in the next; in any image, by a user who owns nothing there."""
    run(kernel, f"%pip install {INSTALL}")
    assert "hello from /tmp/home/" in run(kernel, "import zz; zz.hello()")
    # Its scripts can be run, too, and what the image has stands before them.
    assert "hello from /tmp/home/" in shell(kernel, SCRIPT)
    path = run(kernel, "import os; print(os.environ['PATH'])").strip().split(":")
    assert path[-1].startswith("/tmp/home/")
    assert "/usr/bin" in path
    if "venv_image" in request.node.name:
        run(kernel, "import extra; extra.found")


def test_other_ways_of_pip_work_as_ever(kernel: Kernel, request: pytest.FixtureRequest) -> None:
    """K6: pip in an environment that a cell makes, and into a folder."""
    shell(kernel, "/usr/bin/python3 -m venv /tmp/v")
    said = shell(kernel, f"/tmp/v/bin/python -m pip install {INSTALL}")
    assert "Successfully installed zz-1" in said
    if "venv_image" not in request.node.name:  # there, all of pip goes to one folder
        assert "hello from /tmp/v/" in shell(kernel, f"/tmp/v/bin/{SCRIPT}")
    assert "hello from" in shell(kernel, "/tmp/v/bin/python -c 'import zz; zz.hello()'")
    said = shell(kernel, f"python3 -m pip install --target /tmp/t {INSTALL}")
    assert "zz.py" in shell(kernel, "ls /tmp/t"), said
