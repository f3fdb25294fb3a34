"""What each layer adds: the client to a bare socket, and %%docker to the client."""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from bench.measures import Measure, Samples
from docker_kernel.client import Client
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel_server import messages as wire
from wire import Server

SOCKET, CLIENT, MAGIC = "a bare socket", "the client", "%%docker"
CELL = Measure("a cell that does nothing", "ms")
CLIENT_ADDS = Measure("the client, over a bare socket", "ms", 0.5, absolute=True)
MAGIC_ADDS = Measure("%%docker, over the client", "ms", 1.0, absolute=True)

SESSION = "bench"
CELLS = 200


def medians_ms(works: Mapping[str, Callable[[], object]], times: int) -> dict[str, float]:
    """The middle of so many of each, in turn: what slows the machine down slows all of them."""
    taken: dict[str, list[float]] = {who: [] for who in works}
    for _ in range(times):
        for who, work in works.items():
            began = time.perf_counter()
            work()
            taken[who].append(time.perf_counter() - began)
    return {who: statistics.median(values) * 1e3 for who, values in taken.items()}


def compare(rounds: int, say: Callable[[str], None]) -> Samples:
    """The three, in turn, on one server without a container."""
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="dk-bench-") as name, contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(Path(name)))
        bare = stack.enter_context(server.connect())
        bare.finish(bare.begin("open_session", session=SESSION))
        client = Client(Endpoint("127.0.0.1", server.port, None), Deadline(10))
        stack.callback(client.close)
        client.ask(wire.OpenSession(client.new_id(), f"{SESSION}-client"))
        shell = magic_shell(server.port, stack)

        def on_socket() -> None:
            bare.finish(bare.begin("execute", session=SESSION, code="pass"))

        def by_client() -> None:
            request = wire.Execute(client.new_id(), f"{SESSION}-client", "pass")
            client.request(request).future.result()

        def by_magic() -> None:
            shell.run_cell_magic("docker", "", "pass")

        for number in range(rounds):
            say(f"bench: overhead, round {number + 1} of {rounds}")
            works = {SOCKET: on_socket, CLIENT: by_client, MAGIC: by_magic}
            found = medians_ms(works, CELLS)
            for who, value in found.items():
                samples.add(CELL, who, value)
            samples.add(CLIENT_ADDS, CLIENT, found[CLIENT] - found[SOCKET])
            samples.add(MAGIC_ADDS, MAGIC, found[MAGIC] - found[CLIENT])
    return samples


def magic_shell(port: int, stack: contextlib.ExitStack) -> InteractiveShell:
    """An IPython whose %%docker cells run on this server."""
    # Nothing goes into the history of whoever measures.
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    stack.callback(InteractiveShell.clear_instance)
    stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
    for name in ("DOCKER_HOST", "DOCKER_PORT"):
        stack.callback(_restore(name))
    os.environ.update(DOCKER_HOST="127.0.0.1", DOCKER_PORT=str(port))
    shell.run_line_magic("load_ext", "docker_kernel")
    shell.run_cell_magic("docker", "", "pass")
    stack.callback(shell.run_line_magic, "docker", "stop")
    return shell


def _restore(name: str) -> Callable[[], None]:
    before = os.environ.get(name)

    def restore() -> None:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before

    return restore
