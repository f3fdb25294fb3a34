"""The project's main job, from nothing: a notebook, cell by cell, in a real container.

    python tests/demo.py

Finds or starts an engine, finds or makes an image, and runs examples/quickstart.ipynb. One line
for each stage; where no engine can be had, the notebook runs in local mode, and a line says so.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from engine import Engine, using
from images import image
from system import CannotError, say

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOK = PROJECT / "examples" / "quickstart.ipynb"
OUTPUT = NOTEBOOK.with_suffix(".executed.ipynb")
DEFAULT_IMAGE = f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim"


def image_options(engine: Engine) -> list[str]:
    """Which image to name to the kernel. Raises CannotError where none can be had."""
    if chosen := os.environ.get("DOCKER_KERNEL_IMAGE"):
        say(f"image: {chosen}, from DOCKER_KERNEL_IMAGE")
        return []
    with contextlib.closing(engine.client()) as client:
        if reason := why_not_default(client):
            say(f"image: {DEFAULT_IMAGE} can't be pulled ({reason}), so one is made here")
            name = image("base", client)
            say(f"image: {name}")
            return ["--image", name]
    say(f"image: {DEFAULT_IMAGE}, the default")
    return []


def why_not_default(client: docker.DockerClient) -> str | None:
    """None once the engine has the default image, else the reason in one line."""
    try:
        client.images.get(DEFAULT_IMAGE)
    except ImageNotFound:
        say(f"image: pulling {DEFAULT_IMAGE}")
        try:
            client.images.pull(DEFAULT_IMAGE)
        except APIError as exc:
            return f"the engine says: {exc.explanation}"
        except (DockerException, OSError) as exc:
            return str(exc).splitlines()[0]
    return None


def run(options: list[str]) -> int:
    """Run the notebook with the kernel's own command; returns its exit code."""
    say(f"notebook: {NOTEBOOK.relative_to(PROJECT)}")
    program = Path(sys.executable).with_name("docker-kernel")
    command = [str(program), "run", str(NOTEBOOK)]
    # The kernel's own warnings and outputs go to the terminal as they come.
    done = subprocess.run([*command, "--output", str(OUTPUT), *options], cwd=PROJECT, check=False)
    return done.returncode


def main() -> int:
    """The script; returns its exit code."""
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(using())
            say(f"engine: {engine.host}{', a throw-away one' if engine.throw_away else ''}")
            os.environ["DOCKER_HOST"] = engine.host
            options = image_options(engine)
        except CannotError as exc:
            say(f"engine: no container can be had: {exc}")
            say("engine: so the notebook runs on this machine itself, in local mode")
            options = ["--mode", "local"]
        return run(options)


if __name__ == "__main__":
    sys.exit(main())
