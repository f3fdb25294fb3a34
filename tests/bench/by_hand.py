"""A kernel put into a container by hand: ipykernel in an image that has it, its ports published.

    python by_hand.py CONNECTION_FILE IMAGE [DOCKER_RUN_OPTION ...]

Jupyter starts it as a kernel: it passes signals on to the container, and ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
INSIDE = "/tmp/kernel.json"


def main(file: str, image: str, *options: str) -> int:
    """Run the container until it ends; its exit code."""
    connection = json.loads(Path(file).read_text(encoding="utf-8"))
    inside = Path(file).with_suffix(".inside.json")
    inside.write_text(json.dumps({**connection, "ip": "0.0.0.0"}), encoding="utf-8")  # noqa: S104
    name = f"by-hand-{os.getpid()}"
    ports = [f"--publish=127.0.0.1:{connection[port]}:{connection[port]}" for port in PORTS]
    mount = f"--volume={inside}:{INSIDE}:ro"
    kernel = ("python3", "-m", "ipykernel_launcher", "-f", INSIDE)
    command = ["docker", "run", "--rm", "--init", f"--name={name}", mount, *ports, *options, image]
    # A group of its own: Jupyter signals the whole group, and the program `docker` would end.
    process = subprocess.Popen([*command, *kernel], start_new_session=True)

    def interrupt(_number: int, _frame: object) -> None:
        subprocess.Popen(["docker", "kill", "--signal=INT", name], stdout=subprocess.DEVNULL)

    def end(_number: int, _frame: object) -> None:
        subprocess.run(["docker", "rm", "--force", name], stdout=subprocess.DEVNULL, check=False)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, end)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
