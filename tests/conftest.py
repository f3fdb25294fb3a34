"""Fixtures that all tests share: engine, images, Pythons; and the guard over what they leave."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest

import images
from engine import Engine, engine_host, using
from leftovers import Guard, look
from pip_access import PipAccess
from pip_access import pip_access as find_pip_access
from ports import spare_port
from system import CannotError
from wire import Server, Session, Wire

REQUIRED = os.environ.get("DOCKER_KERNEL_TEST_CONTAINERS") == "required"
PYTHON_VERSIONS = [f"3.{minor}" for minor in range(8, 14)]
INTEGRATION = Path(__file__).parent / "integration"
BROWSER = Path(__file__).parent / "browser"
SERVER_SETTINGS = ("DOCKER_PORT", "DOCKER_TIMEOUT")


LEFT_STATUS = 10
"""The exit status where something was left behind, for which no second run of a test makes up."""


class Run:
    """What this run of the tests knows about itself. Where several processes share the tests,
    each has one, and so has the one that hands out the tests, which never runs any."""

    def __init__(self, config: pytest.Config) -> None:
        self.workeroutput: dict[str, object] | None = getattr(config, "workeroutput", None)
        """What goes to the process that hands out the tests; None in that one."""
        self.shared = self.workeroutput is None and config.getoption("dist", "no") != "no"
        """Whether this is the one that hands out the tests."""
        self.guard = Guard()
        self.stack = contextlib.ExitStack()
        self.engine: Engine | None = None
        self.reason: str | None = None
        self.not_run: Counter[tuple[str, str]] = Counter()
        self.left: list[str] = []

    def get_engine(self) -> Engine:
        """The engine, found or started at the first call. Raises CannotError at every one."""
        if self.reason is not None:
            raise CannotError(self.reason)
        if self.engine is None:
            try:
                self.engine = self.stack.enter_context(using())
            except CannotError as exc:
                self.reason = str(exc)
                raise
            # For the tests and all that they start.
            os.environ["DOCKER_HOST"] = self.engine.host
            with contextlib.closing(self.engine.client()) as client:
                self.guard.begin_containers(client)
        return self.engine


run_key = pytest.StashKey[Run]()


# ---- the run ---------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Start from known ground: settings of the person who runs the tests must not reach them."""
    # A shell starts what runs in its background with Ctrl-C ignored; all that we start would be so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name.startswith("DOCKER_KERNEL_") and not name.startswith("DOCKER_KERNEL_TEST_"):
            del os.environ[name]
    for name in (*SERVER_SETTINGS, *([] if engine_host(os.environ) else ["DOCKER_HOST"])):
        os.environ.pop(name, None)
    run = config.stash[run_key] = Run(config)
    # No configuration, startup file or history of theirs either.
    profiles = run.stack.enter_context(tempfile.TemporaryDirectory(prefix="docker-kernel-test-"))
    os.environ["IPYTHONDIR"] = profiles
    run.guard.begin()
    if run.shared:
        # It alone sees the first and the last of the containers. Those who run the tests say why
        # there is no engine.
        with contextlib.suppress(CannotError):
            run.get_engine()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of tests/integration needs an engine, and so does what asks for one elsewhere.

    Those in a browser come last: it and JupyterLab stay busy from the first of them on.
    """
    items.sort(key=lambda item: BROWSER in item.path.parents)
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if INTEGRATION in item.path.parents and "engine" not in item.fixturenames:
            item.fixturenames.insert(0, "engine")
        if "engine" in item.fixturenames:
            item.add_marker(pytest.mark.container)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count the tests in a browser or a container that could not run."""
    report = yield
    kind = "browser" if BROWSER in item.path.parents else "container"
    counted = kind == "browser" or item.get_closest_marker("container")
    if report.skipped and call.excinfo is not None and counted:
        item.config.stash[run_key].not_run[kind, str(call.excinfo.value)] += 1
    return report


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """After the last fixture's end, and before the summary: nothing may be left."""
    yield
    run = session.config.stash[run_key]
    if run.workeroutput is not None:
        run.left = look(run.guard, None)
        run.workeroutput["left"] = run.left
        run.workeroutput["not run"] = [[*what, count] for what, count in run.not_run.items()]
    else:
        run.left += look(run.guard, run.engine.host if run.engine else None)
    run.stack.close()
    if run.left:
        session.exitstatus = LEFT_STATUS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of those who share the tests has ended, and this is what it has found."""
    found = getattr(node, "workeroutput", {})
    run = node.config.stash[run_key]
    run.left += found.get("left", [])
    for kind, reason, count in found.get("not run", []):
        run.not_run[kind, reason] += count


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what did not run; what was left behind counts as an error of its own."""
    run = config.stash[run_key]
    for (kind, reason), count in run.not_run.items():
        terminalreporter.write_line(f"{kind} tests: {count} not run: {reason}", yellow=True)
    for thing in run.left:
        terminalreporter.write_line(f"left behind by the tests: {thing}", red=True)
        where = ("conftest.py", None, "left behind")
        report = pytest.TestReport("left behind", where, {}, "failed", thing, "teardown")
        terminalreporter.stats.setdefault("error", []).append(report)


# ---- engine and images -----------------------------------------------------------------------


@contextlib.contextmanager
def or_give_up() -> Iterator[None]:
    """Where something can't be had: skip the test, or fail it where container tests must run."""
    try:
        yield
    except CannotError as exc:
        reason = str(exc)
    else:
        return
    if REQUIRED:
        pytest.fail(f"container tests are required, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Engine:
    """An engine that answers; DOCKER_HOST names it from here on."""
    with or_give_up():
        return pytestconfig.stash[run_key].get_engine()


@pytest.fixture(scope="session")
def engine_if_any(pytestconfig: pytest.Config) -> Engine | None:
    """The same, or None: for what only some of its tests use in containers."""
    with contextlib.suppress(CannotError):
        return pytestconfig.stash[run_key].get_engine()
    return None


@pytest.fixture(scope="session")
def docker_client(engine: Engine) -> Iterator[docker.DockerClient]:
    """A client of the Docker SDK, to look at the engine from outside."""
    with contextlib.closing(engine.client()) as client:
        yield client


def make_image(kind: str, client: docker.DockerClient) -> str:
    with or_give_up():
        return images.image(kind, client)


@pytest.fixture(scope="session")
def image(docker_client: docker.DockerClient) -> str:
    """An image with this Python's version and pip, and nothing of ours."""
    return make_image("base", docker_client)


@pytest.fixture(scope="session")
def old_image(docker_client: docker.DockerClient) -> str:
    """An image with Python 3.9, too old for the IPython that is lent."""
    return make_image("old", docker_client)


@pytest.fixture(scope="session")
def ipython_image(docker_client: docker.DockerClient) -> str:
    """An image with an IPython of its own, 8.5."""
    return make_image("ipython", docker_client)


@pytest.fixture(scope="session")
def nopython_image(docker_client: docker.DockerClient) -> str:
    """An image with a shell and no Python."""
    return make_image("nopython", docker_client)


@pytest.fixture(scope="session")
def notebook_image(docker_client: docker.DockerClient) -> str:
    """An image with widgets, matplotlib, pandas and progress bars, from PyPI."""
    with or_give_up():
        return images.notebook_image(docker_client)


@pytest.fixture(scope="session")
def pip_access() -> PipAccess:
    """Mounts and environment with which pip works in a container as it does here."""
    return find_pip_access()


# ---- Pythons and ports -----------------------------------------------------------------------


@cache
def find_pythons() -> dict[str, str]:
    """The interpreters of this machine that the server must run under, by version."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    installed = [str(folder) for folder in sorted(root.glob("*/bin"))]
    folders = [*installed, *os.environ.get("PATH", "").split(os.pathsep)]
    found: dict[str, str] = {}
    for version in PYTHON_VERSIONS:
        for folder in folders:
            program = Path(folder, f"python{version}")
            if program.exists() and works(program):
                found[version] = str(program)
                break
    return found


def works(program: Path) -> bool:
    """Whether it is more than a shim for a Python that isn't there."""
    return subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode == 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `each_python` runs once for each interpreter, with its path."""
    if "each_python" in metafunc.fixturenames:
        found = find_pythons()
        metafunc.parametrize("each_python", list(found.values()), ids=list(found))


@pytest.fixture(scope="session")
def pythons() -> dict[str, str]:
    """The interpreters from 3.8 to 3.13 that this machine has: version -> path."""
    return find_pythons()


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on just now."""
    return spare_port()


# ---- servers without a container -------------------------------------------------------------


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pythons: dict[str, str],
) -> Iterator[Server]:
    """A server on this machine. Its parameter, where it has one, is the shell: ipython or plain."""
    plain = getattr(request, "param", "ipython") == "plain"
    if plain and "3.8" not in pythons:
        pytest.skip("there is no Python 3.8 on this machine")
    python = pythons["3.8"] if plain else sys.executable
    with Server(tmp_path_factory.mktemp("work"), python=python) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Wire]:
    """A connection to the server."""
    with server.connect() as connected:
        yield connected


@pytest.fixture
def session(client: Wire) -> Iterator[Session]:
    """A session of that connection."""
    opened = client.open()
    yield opened
    opened.ask("close_session")
