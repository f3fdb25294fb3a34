"""What all tests on containers share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from docker_kernel.config import Settings
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire

SILENT_SECONDS = 200


@pytest.fixture(scope="session", autouse=True)
def silent(image: str) -> Iterator[Future[wire.Final]]:
    """A command that says nothing for a long time: begun before all of these tests, so that the
    last of them, which looks at it, needn't wait."""
    sandbox = Sandbox(Settings(image=image, mount_workspace=False))
    client = sandbox.client()
    command = f"sleep {SILENT_SECONDS}; echo done"
    yield client.request(wire.Run(client.new_id(), command, timeout=SILENT_SECONDS * 2)).future
    sandbox.stop()
