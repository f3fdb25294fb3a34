"""`docker-kernel run` and its container."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import docker
import nbformat
import pytest
from docker.errors import NotFound

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
    program = "import sys; from docker_kernel.cli import main; sys.exit(main())"
    words = ["run", "a.ipynb", "--image", image, "--mount-workspace", "False"]
    container = ""
    with subprocess.Popen(
        [sys.executable, "-c", program, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
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
