"""`docker-kernel run` and its container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import docker
import nbformat
import pytest
from docker.errors import NotFound

PROGRAM = "import sys; from docker_kernel.cli import main; sys.exit(main())"
CELL = """
import platform, time
print("container", platform.node())
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("ignored")
"""


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_removes_the_container(
    which: signal.Signals, image: str, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, tmp_path / "a.ipynb")  # type: ignore[no-untyped-call]
    words = ["run", "a.ipynb", "--image", image, "--mount-workspace", "False"]
    container = ""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("container "):
                container = line.split()[1]
                docker_client.containers.get(container)
            if line.startswith(("container ", "ignored")):
                process.send_signal(which)
    assert process.returncode == 130
    with pytest.raises(NotFound):
        docker_client.containers.get(container)


SCRIPT = """
import neighbour, os, platform, sys
print(platform.node())
print(sys.argv, sys.path[0], __file__, os.getuid())
with open("written", "w") as file:
    file.write(sys.stdin.read())
print("on stderr", file=sys.stderr)
os.kill(os.getpid(), 9)
"""


def test_a_script(image: str, docker_client: docker.DockerClient) -> None:
    """It sees its folder, and what it writes there is its owner's; its end is told as it was."""
    with tempfile.TemporaryDirectory(prefix="dk-run-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        (folder / "a.py").write_text(SCRIPT)
        (folder / "neighbour.py").touch()
        os.chown(folder, 4321, 4321)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "run", "--image", image, f"{name}/a.py", "--b", "c d"],
            input="given\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        container, rest = done.stdout.split("\n", 1)
        assert rest == "['a.py', '--b', 'c d'] /workspace /workspace/a.py 4321\n"
        assert (folder / "written").read_text() == "given\n"
        assert (folder / "written").stat().st_uid == 4321
    assert done.stderr.startswith("on stderr\ndocker-kernel: signal 9 ended the command (SIGKILL)")
    assert done.returncode == 137
    with pytest.raises(NotFound):
        docker_client.containers.get(container)


STUBBORN = """
import platform, signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print(__file__, platform.node())
while True:
    time.sleep(60)
"""


def test_ctrl_c_ends_a_script_and_its_container(
    image: str, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    """Here one that the container doesn't see, whose text runs nevertheless."""
    (tmp_path / "a.py").write_text(STUBBORN)
    words = ["run", "--image", image, "--mount-workspace", "False", str(tmp_path / "a.py")]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name, container = process.stdout.readline().split()
        docker_client.containers.get(container)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    assert name == "/workspace/a.py"
    assert process.returncode == 130
    with pytest.raises(NotFound):
        docker_client.containers.get(container)
