"""A start that breaks, at every step: nothing is left, and the error says where and why (E1)."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from cells import run
from docker_kernel.backends import container, creation, probing
from docker_kernel.backends.container import DockerBackend
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import StartCancelled, StartError, StartTimeout
from docker_kernel.sandbox import Sandbox
from engine import Engine
from kernels import Kernel
from stalling import StallingEngine
from system import wait_until

Forget = Callable[[str], None]


def make_settings(image: str, **more: str) -> Settings:
    """For a container of the image, without a folder."""
    chosen = {"mode": "docker", "image": image, "mount_workspace": "false", **more}
    return Settings.load(environ={f"DOCKER_KERNEL_{k.upper()}": v for k, v in chosen.items()})


@pytest.fixture(scope="module")
def proxy(engine: Engine) -> Iterator[StallingEngine]:
    """The engine behind a proxy that withholds answers."""
    if not engine.host.startswith("unix://"):
        pytest.skip("this engine has no socket here")
    with tempfile.TemporaryDirectory(prefix="dk-") as folder:
        made = StallingEngine(engine.host.removeprefix("unix://"), Path(folder))
        with closing(made):
            yield made


@pytest.fixture(scope="module", autouse=True)
def warm(
    image: str, proxy: StallingEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The module's own cache, in which all is that is found out once for each engine's address: a
    start takes less than a second."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        for url in (proxy.url, os.environ["DOCKER_HOST"]):
            with pytest.MonkeyPatch.context() as inner:
                inner.setenv("DOCKER_HOST", url)
                backend = DockerBackend(make_settings(image))
                backend.start(Deadline(120), print)
                backend.stop()
        yield cache / "docker-kernel"


@pytest.fixture
def backend(image: str) -> Iterator[DockerBackend]:
    """A backend that isn't started; stopped at the end."""
    made = DockerBackend(make_settings(image))
    yield made
    made.stop()


@pytest.fixture
def ours(docker_client: docker.DockerClient) -> Callable[[], set[str]]:
    """The containers that this process has made from here on, running or not: name and state."""

    def all_of_them() -> set[str]:
        mine = f"docker-kernel.owner.pid={os.getpid()}"
        found = docker_client.api.containers(all=True, filters={"label": [mine]})
        return {f"{item['Names'][:1]} {item['State']}" for item in found}

    before = all_of_them()
    return lambda: all_of_them() - before


def gone(ours: Callable[[], set[str]]) -> bool:
    """Whether none is left: at once, or as soon as an engine with much to do has removed it."""
    return wait_until(lambda: not ours(), 20)


@pytest.fixture
def forget(warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forget:
    """Forgets, for this test, what was found out of "images" or of "volumes"."""
    copy = tmp_path / warm.name
    shutil.copytree(warm, copy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda what: shutil.rmtree(copy / what, ignore_errors=True)


@pytest.fixture
def stalling(proxy: StallingEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[StallingEngine]:
    """The proxy as the engine of this test."""
    monkeypatch.setenv("DOCKER_HOST", proxy.url)
    proxy.stalled.clear()
    yield proxy
    proxy.pattern = ""


# -- a fault at every step


class InjectedError(Exception):
    """The fault of a test."""


class Interfering(Deadline):
    """A deadline that does something before or after the step of a given number."""

    def __init__(self, number: int, before: bool, work: Callable[[], None]) -> None:
        super().__init__(120)
        self._number, self._before, self._work = number, before, work

    @contextmanager
    def step(self, name: str, counted: bool = True) -> Iterator[None]:
        here = len(self.steps) == self._number
        if here and self._before:
            self._work()
        with super().step(name, counted):
            yield
        if here and not self._before:
            self._work()


def fail() -> None:
    raise InjectedError


def steps_of(backend: DockerBackend) -> list[str]:
    """The steps of a good start."""
    deadline = Deadline(120)
    backend.start(deadline, print)
    backend.stop()
    return [step.name for step in deadline.steps]


def part(names: list[str], what: str) -> range:
    """The numbers of the steps by which one thing is found out that was forgotten."""
    if what == "images":
        return range(names.index("creating the probe container"), names.index(LENT))
    if what == "volumes":
        # Those of the first volume; the second is filled in the same way, and takes longer.
        begin = names.index("packing the runtime")
        return range(begin, names.index("looking for the runtime volume", begin) + 1)
    return range(len(names))


LENT = "looking at what is lent"


@pytest.mark.parametrize(
    ("forgotten", "steps"),
    [("nothing", 9), ("images", 4), ("volumes", 6)],
)
def test_a_fault_at_any_step_leaves_no_container(
    forgotten: str,
    steps: int,
    backend: DockerBackend,
    forget: Forget,
    ours: Callable[[], set[str]],
) -> None:
    """E1: before it, and after the engine has done it."""
    forget(forgotten)
    names = steps_of(backend)
    numbers = part(names, forgotten)
    assert len(numbers) >= steps, names
    for number in numbers:
        for before in (True, False):
            forget(forgotten)
            with pytest.raises(InjectedError):
                backend.start(Interfering(number, before, fail), print)
            assert gone(ours), (ours(), names[number], before)
            assert backend.handover() is None
    assert run(backend.start(Deadline(120), print), "found = 8") == 8


def test_a_stop_at_any_step_calls_the_start_off(
    backend: DockerBackend, ours: Callable[[], set[str]]
) -> None:
    """E8: and nothing is left."""
    names = steps_of(backend)
    for number, name in enumerate(names):
        stopper = threading.Thread(target=backend.stop)

        def begin_stop(stopper: threading.Thread = stopper) -> None:
            stopper.start()
            assert wait_until(backend._stopping.is_set, 10)

        with pytest.raises(StartCancelled):
            backend.start(Interfering(number, True, begin_stop), print)
        stopper.join()
        assert gone(ours), (ours(), name)
    assert run(backend.start(Deadline(120), print), "found = 9") == 9


def test_a_kernel_that_is_told_to_end_in_the_middle_of_its_start(
    image: str, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    """E8: at the moment in which its container appears."""
    os.chown(tmp_path, 1000, 1000)
    mine = {"label": [f"docker-kernel.workspace={tmp_path}"]}
    since = int(time.time())
    kernel = Kernel(f"--image={image}", folder=tmp_path)
    kernel.manager.start_kernel(cwd=str(tmp_path), env=dict(os.environ))
    events = docker_client.events(since=since, filters={**mine, "event": "create"}, decode=True)
    with closing(events):
        next(events)
    os.kill(kernel.pid, signal.SIGTERM)
    assert wait_until(kernel.has_ended, 20)
    assert docker_client.api.containers(all=True, filters=mine) == []
    kernel.manager.shutdown_kernel(now=True)
    kernel.manager.cleanup_resources()


# -- an engine that hangs


@pytest.mark.parametrize(
    ("pattern", "step"),
    [
        ("GET /version", "connecting to the engine"),
        ("GET /images/", "looking for the image"),
        ("GET /volumes/", "looking for the runtime volume"),
        ("POST /containers/create", "creating the container"),
        ("PUT /containers/.*/archive", "creating the container"),
        ("POST /containers/.*/attach", "attaching to the container"),
        ("POST /containers/.*/start", "starting the container"),
        ("GET /containers/.*/json", "asking for the port"),
    ],
)
def test_an_engine_that_hangs_at_a_call(
    pattern: str,
    step: str,
    backend: DockerBackend,
    stalling: StallingEngine,
    ours: Callable[[], set[str]],
) -> None:
    """E1: the engine does it, and the answer never comes."""
    stalling.pattern = pattern
    with pytest.raises(StartTimeout) as caught:
        backend.start(Deadline(4), print)
    assert f"{step} took" in caught.value.why
    assert "START_TIMEOUT=8" in caught.value.remedy
    assert stalling.stalled
    assert gone(ours), ours()


def test_an_engine_that_hangs_for_good_and_comes_back(
    backend: DockerBackend, stalling: StallingEngine, ours: Callable[[], set[str]]
) -> None:
    """What can't be removed now is removed by the next start."""
    stalling.pattern = "POST /containers/.*/start|DELETE"
    with pytest.raises(StartTimeout, match="starting the container took"):
        backend.start(Deadline(2), print)
    stalling.pattern = ""
    assert run(backend.start(Deadline(120), print), "found = 5") == 5
    assert wait_until(lambda: len(ours()) == 1, 20)


def test_a_look_at_what_ended_does_not_wait_for_an_engine_that_hangs(
    backend: DockerBackend, stalling: StallingEngine, docker_client: docker.DockerClient
) -> None:
    """C5: the cell is told in the end."""
    backend.start(Deadline(120), print)
    note = backend.handover()
    assert note is not None
    docker_client.containers.get(note["container"]).kill()
    stalling.pattern = "GET /events"
    assert "the container is gone; its last lines were: listening" in backend.postmortem()
    assert stalling.stalled


def test_a_stop_does_not_wait_for_an_engine_that_hangs(
    backend: DockerBackend, stalling: StallingEngine, ours: Callable[[], set[str]]
) -> None:
    """E8: the start that hangs ends what it has begun, when it hears of it."""
    stalling.pattern = "POST /containers/create"
    failed: list[BaseException] = []

    def start() -> None:
        try:
            backend.start(Deadline(12), print)
        except StartError as exc:
            failed.append(exc)

    starting = threading.Thread(target=start)
    starting.start()
    assert wait_until(lambda: bool(stalling.stalled), 20)
    backend.stop()
    assert starting.is_alive()
    starting.join()
    assert isinstance(failed[0], StartCancelled)
    assert gone(ours), ours()


# -- a container that does something else


LISTEN = """
import socket, sys
server = socket.create_server(("0.0.0.0", 8000))
print("listening on 0.0.0.0:8000\\nlast words", flush=True)
"""

FAULTS = {
    "prints and never listens": (
        ["sh", "-c", "echo last words; sleep 600"],
        StartTimeout,
        ["waiting for the server took", "last words"],
    ),
    "nobody listens at the port": (
        ["sh", "-c", "echo listening on 0.0.0.0:8000; echo last words; sleep 600"],
        StartTimeout,
        ["connecting to the server took", "closes each connection", "last words"],
    ),
    "takes connections and says nothing": (
        ["python3", "-c", f"{LISTEN}\nimport time; time.sleep(600)"],
        StartTimeout,
        ["connecting to the server took", "last words"],
    ),
    "ends at once": (
        ["sh", "-c", "echo last words; exit 3"],
        StartError,
        ["ended right after its start", "status 3", "last words"],
    ),
    "ends when it listens": (
        ["python3", "-c", f"{LISTEN}\nsys.exit(4)"],
        StartError,
        ["status 4", "last words"],
    ),
    "can't be run": (
        ["no-such-program"],
        StartError,
        ["ended right after its start", "no-such-program"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_container_that_is_no_server(
    fault: str,
    image: str,
    ours: Callable[[], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """E1: which step was slow, and what the container's log said last."""
    command, kind, words = FAULTS[fault]
    create = creation.creation

    def other(*arguments: Any) -> dict[str, Any]:
        return {**create(*arguments), "Entrypoint": command[:1], "Cmd": command[1:]}

    monkeypatch.setattr(container, "creation", other)
    sandbox = Sandbox(make_settings(image, start_timeout="2"))
    with pytest.raises(kind) as caught:
        sandbox.client()
    for text in words:
        assert text in str(caught.value)
    assert gone(ours), ours()
    sandbox.stop()


def test_a_probe_that_hangs_is_told_by_its_last_words(
    backend: DockerBackend,
    forget: Forget,
    ours: Callable[[], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget("images")
    program = "import time; print('last words', flush=True); time.sleep(600)"
    monkeypatch.setattr(probing, "_PROBE", program)
    with pytest.raises(StartTimeout) as caught:
        backend.start(Deadline(2), print)
    assert "waiting for the probe container took" in caught.value.why
    assert "last words" in caught.value.why
    assert gone(ours), ours()


def test_a_start_that_is_too_slow_as_a_whole_names_the_slowest_step(
    backend: DockerBackend, ours: Callable[[], set[str]]
) -> None:
    clock = iter(range(0, 100_000, 3))
    with pytest.raises(StartTimeout, match=r"took .* s") as caught:
        backend.start(Deadline(20, lambda: float(next(clock))), print)
    assert "START_TIMEOUT" in caught.value.remedy
    assert gone(ours), ours()
