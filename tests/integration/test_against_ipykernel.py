"""ipykernel is the reference: both kernels are asked the same, and all messages compared (K1-K5).

What is asked stands in the tables of ../cases; what differs and should stands there as well.
"""

from __future__ import annotations

import contextlib
import os
import pprint
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.mark import ParameterSet
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from cases import SETUP, Case, case, control
from cases.errors import ASYNC, ERRORS, INTERRUPTS, STOPPING
from cases.magics import MAGICS, PAYLOADS, SHELL
from cases.output import DISPLAYS, TEXT, VALUES
from cases.requests import CELLS, COMMS, HISTORY, KERNEL, LOOKING, MALFORMED, STDIN
from comparing import differences
from frontend import PATIENCE, Exchange, Frontend
from kernels import Kernel

if TYPE_CHECKING:
    from typing_extensions import Self

TABLES = {
    "values": VALUES,
    "text": TEXT,
    "displays": DISPLAYS,
    "shell": SHELL,
    "magics": MAGICS,
    "payloads": PAYLOADS,
    "errors": ERRORS,
    "stopping": STOPPING,
    "interrupts": INTERRUPTS,
    "async": ASYNC,
    "cells": CELLS,
    "stdin": STDIN,
    "looking": LOOKING,
    "history": HISTORY,
    "comms": COMMS,
    "kernel": KERNEL,
    "malformed": MALFORMED,
}


class Pair:
    """Both kernels, with what the cases rely on, from `__enter__` to `__exit__`."""

    def __init__(self, image: str, folder: Path) -> None:
        folders = folder / "workspace", folder / "ours"
        for place in folders:
            place.mkdir()
            # An ordinary user's, for the tests may run as root.
            os.chown(place, 1000, 1000)
        self.kernel = Kernel(f"--image={image}", folder=folders[1])
        # No ports: others on this machine take ports as well.
        self.manager = KernelManager(
            kernel_name="python3", transport="ipc", connection_file=str(folder / "theirs.json")
        )
        self._folders = folders
        self._stack = contextlib.ExitStack()
        self._env = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "SHELL": "/bin/bash"}
        # Where it is set, ipykernel leaves the descriptors of its output alone.
        self._env.pop("PYTEST_CURRENT_TEST", None)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.kernel)
            stack.callback(self.manager.shutdown_kernel, now=True)
            self.manager.start_kernel(
                cwd=str(self._folders[0]),
                env=self._env,
                # Its log goes to iopub too, where it would be compared.
                extra_arguments=["--log-level=CRITICAL"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self.reference: BlockingKernelClient = self.manager.client()
            self.reference.start_channels()
            stack.callback(self.reference.stop_channels)
            self.prepare()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def prepare(self) -> None:
        """Wait for the kernels, and run in them what the cases rely on."""
        for client in (self.reference, self.kernel.client):
            client.wait_for_ready(timeout=PATIENCE)
            client.execute_interactive(SETUP, timeout=PATIENCE)
        self.theirs = Frontend(self.reference, self._folders[0])
        self.ours = Frontend(self.kernel.client, self._folders[1])

    def level(self) -> None:
        """Let both count alike again: where one case fails, the next one shall not for that."""
        clients = self.reference, self.kernel.client
        counts = [int(count_of(client)) for client in clients]
        for client, count in zip(clients, counts, strict=True):
            for _ in range(max(counts) - count):
                client.execute_interactive("pass", timeout=PATIENCE)

    def restart(self) -> None:
        """Fresh kernels, whatever became of those before."""
        for manager in (self.manager, self.kernel.manager):
            manager.restart_kernel(now=True)
        self.prepare()


def count_of(client: BlockingKernelClient) -> str:
    """The number of the next cell."""
    asked = {"count": "get_ipython().execution_count"}
    reply = client.execute_interactive("", silent=True, user_expressions=asked, timeout=PATIENCE)
    return str(reply["content"]["user_expressions"]["count"]["data"]["text/plain"])


@pytest.fixture(scope="module")
def pair(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Pair(image, tmp_path_factory.mktemp("pair")) as running:
        yield running


def compare(theirs: Exchange, ours: Exchange, tried: Case) -> None:
    """Fail where there is a difference that isn't in the table, or the other way round."""
    found = differences(theirs, ours)
    new = {place: what for place, what in found.items() if place not in tried.differs}
    assert not new, f"theirs, ours:\n{pprint.pformat(new, width=100)}"
    gone = [place for place in tried.differs if place not in found]
    assert not gone, "there is no difference any more"


def named(tables: dict[str, list[Case]]) -> list[ParameterSet]:
    """The cases as parameters of a test."""
    return [pytest.param(c, id=f"{table}: {c.name}") for table in tables for c in tables[table]]


@pytest.mark.parametrize("tried", named(TABLES))
def test_same_as_ipykernel(pair: Pair, tried: Case) -> None:
    for frontend in (pair.theirs, pair.ours):
        frontend.begin()
        for step in tried.steps:
            step(frontend)
        frontend.finish()
    try:
        compare(pair.theirs.exchange, pair.ours.exchange, tried)
    except AssertionError:
        pair.level()
        raise


ENDINGS = [
    case("exit", "exit"),
    case("quit()", "print('a')\nquit()\nprint('b')"),
    case("shutdown", control("shutdown_request", restart=False)),
    case("shutdown for a restart", control("shutdown_request", restart=True)),
]


@pytest.mark.parametrize("tried", named({"end": ENDINGS}))
def test_ends_as_ipykernel(pair: Pair, tried: Case) -> None:
    for frontend in (pair.theirs, pair.ours):
        frontend.begin()
        for step in tried.steps:
            step(frontend)
        end(frontend)
    pair.restart()
    compare(pair.theirs.exchange, pair.ours.exchange, tried)


def end(frontend: Frontend) -> None:
    """Wait for the last that comes of a kernel that ends."""
    (sent,) = frontend.exchange.sent.values()
    reply = sent.header["msg_type"].replace("request", "reply")
    frontend.wait(lambda where, message: where != "iopub" and message["msg_type"] == reply)
    if reply == "shutdown_reply":
        frontend.wait(lambda where, message: where == "iopub" and message["msg_type"] == reply)
    else:
        frontend.done()
