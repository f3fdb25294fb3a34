"""Local mode, with the real server."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cells import run
from docker_kernel import info, runtime
from docker_kernel.backends import local, make_backend
from docker_kernel.backends.local import LocalBackend, allowed_environment
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import SettingError, StartCancelled, StartError, StartTimeout
from docker_kernel.launcher import Launcher
from kernels import Kernel


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., LocalBackend]]:
    """Makes backends in the test's folder, and stops them."""
    made: list[LocalBackend] = []

    def new(**environ: str) -> LocalBackend:
        names = {f"DOCKER_KERNEL_{name.upper()}": value for name, value in environ.items()}
        chosen = {"DOCKER_KERNEL_MODE": "local", "DOCKER_KERNEL_WORKSPACE": str(tmp_path), **names}
        backend = make_backend(Settings.load(environ=chosen))
        assert isinstance(backend, LocalBackend)
        made.append(backend)
        return backend

    yield new
    for backend in made:
        backend.stop()


def test_it_runs_code_here_and_says_so_loudly(
    make: Callable[..., LocalBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", "a-secret-of-the-host")
    monkeypatch.setenv("LC_TIME", "C")
    backend = make(env="{'MINE': 'yes'}")
    lines: list[str] = []
    endpoint = backend.start(Deadline(30), lines.append)
    folder, environment = run(endpoint, "import os; found = [os.getcwd(), dict(os.environ)]")
    assert folder == str(tmp_path.resolve())
    assert environment["MINE"] == "yes"
    assert environment["LC_TIME"] == "C"
    assert "a-secret-of-the-host" not in str(environment)
    assert "JUPYTER_TOKEN" not in environment
    assert "WITHOUT a container" in backend.describe()
    assert any("NO CONTAINER" in notice for notice in backend.notices)
    assert any("without a container" in line for line in lines)
    assert backend.postmortem() == ""
    assert backend.handover() is None


HIDDEN = (
    "AWS_SECRET_ACCESS_KEY",
    "AZURE_CLIENT_SECRET",
    "DOCKER_AUTH_CONFIG",
    "DOCKER_HOST",
    "GITHUB_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HF_TOKEN",
    "HTTPS_PROXY",
    "JPY_API_TOKEN",
    "JPY_PARENT_PID",
    "JUPYTER_TOKEN",
    "KUBECONFIG",
    "LD_PRELOAD",
    "OPENAI_API_KEY",
    "PGPASSWORD",
    "PIP_INDEX_URL",
    "PYTHONPATH",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
)


def test_only_the_allow_list_passes() -> None:
    """E10"""
    environ = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C"}
    assert allowed_environment({**environ, **dict.fromkeys(HIDDEN, "x")}) == environ


ENVIRONMENTS = """
import os
found, pid = [str(dict(os.environ))], os.getpid()
while pid not in (0, 1, {stop}):
    try:
        found.append(open("/proc/%d/environ" % pid, errors="replace").read())
    except PermissionError:
        found.append("")
    status = open("/proc/%d/status" % pid).read()
    pid = int(status.partition("PPid:")[2].split()[0])
found.append(os.popen("cat /proc/self/environ").read())
"""


def test_the_environment_is_in_no_process_of_the_session(
    make: Callable[..., LocalBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """E10: nor in what /proc shows of it, its parents up to the server, and its children."""
    for name in HIDDEN:
        if name != "LD_PRELOAD":
            monkeypatch.setenv(name, "http://hidden-from-the-code")
    endpoint = make(env="{'MINE': 'yes'}").start(Deadline(30), print)
    found = run(endpoint, ENVIRONMENTS.format(stop=os.getpid()))
    assert len(found) >= 5  # session, keeper, zygote, server, and the two at both ends
    assert "MINE" in found[0]
    for text in found:
        assert "hidden-from-the-code" not in text


def test_the_kernel_warns(tmp_path: Path) -> None:
    """E10: in its banner, which is there at once, and in the first cell alone."""
    with Kernel("--mode=local", folder=tmp_path) as kernel:
        banner = kernel.ask("kernel_info")["banner"]
        assert banner.splitlines()[0].endswith("Python on this machine, WITHOUT a container")
        assert "THERE IS NO CONTAINER" in banner
        first = kernel.run("1")
        assert "THERE IS NO CONTAINER" in first.text("stderr")
        assert (first.result, kernel.run("2").text("stderr")) == ("1", "")


def test_the_warning_does_not_wait_for_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_KERNEL_WORKSPACE", "/nowhere")
    launcher = Launcher(["--mode=local"])
    try:
        banner = info.banner(launcher.look())
    finally:
        launcher.stop()
    assert "THERE IS NO CONTAINER" in banner
    assert "in /nowhere" in banner


def test_the_secret_is_in_no_list_of_processes(make: Callable[..., LocalBackend]) -> None:
    endpoint = make().start(Deadline(30), print)
    assert endpoint.secret is not None
    secret = endpoint.secret.decode()
    for process in psutil.Process().children(recursive=True):
        with process.oneshot():
            assert secret not in str(process.cmdline())
            assert secret not in str(process.environ())


def test_stop_ends_the_sessions_too(make: Callable[..., LocalBackend]) -> None:
    backend = make()
    endpoint = backend.start(Deadline(30), print)
    stubborn = (
        "import os, signal, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(1000)'],"
        "stdout=subprocess.PIPE, start_new_session=True)\n"
        "child.stdout.readline()\n"
        "found = [os.getpid(), child.pid]"
    )
    processes = [psutil.Process(pid) for pid in run(endpoint, stubborn)]
    processes += psutil.Process().children(recursive=True)
    backend.stop()
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert alive == []
    backend.stop()


def test_two_servers_at_once_and_one_after_another(make: Callable[..., LocalBackend]) -> None:
    first, second = make(), make()
    one, two = first.start(Deadline(30), print), second.start(Deadline(30), print)
    assert one.port != two.port
    assert one.secret != two.secret
    again = first.start(Deadline(30), print)
    assert again.secret != one.secret
    assert run(again, "found = 1") == run(two, "found = 1") == 1


def test_a_server_that_dies_is_explained(make: Callable[..., LocalBackend]) -> None:
    backend = make()
    backend.start(Deadline(30), print)
    assert backend._process is not None
    backend._process.kill()
    backend._process.wait()
    assert "SIGKILL" in backend.postmortem()


def test_it_works_where_the_package_is_installed(
    make: Callable[..., LocalBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a wheel: the program lies inside the package, and the package in site-packages.
    package = tmp_path / "site-packages" / "docker_kernel_server"
    shutil.copytree(runtime.server_package(), package)
    shutil.copy(runtime.entry_script(), package)
    monkeypatch.setattr(runtime, "server_package", lambda: package)
    endpoint = make().start(Deadline(30), print)
    assert run(endpoint, "found = 5") == 5


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that is started in the server's place."""
    path = tmp_path / "program.py"
    monkeypatch.setattr(local, "_program", lambda: [str(path)])
    return path


def test_a_server_that_ends_at_once(make: Callable[..., LocalBackend], entry: Path) -> None:
    entry.write_text("raise SystemExit('no room on the disk')")
    backend = make()
    with pytest.raises(StartError, match="no room on the disk") as caught:
        backend.start(Deadline(30), print)
    assert "status 1" in caught.value.why
    assert psutil.Process().children() == []


def test_a_server_that_says_nothing(make: Callable[..., LocalBackend], entry: Path) -> None:
    entry.write_text("import time; print('thinking', flush=True); time.sleep(1000)")
    with pytest.raises(StartTimeout, match="thinking") as caught:
        make().start(Deadline(2), print)
    assert "waiting for the server took" in caught.value.why
    assert psutil.Process().children() == []


def test_a_stop_in_the_middle_calls_the_start_off(
    make: Callable[..., LocalBackend], entry: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    entry.write_text(f"import time; open({str(gate)!r}).close(); time.sleep(1000)")
    backend = make()
    found: list[BaseException] = []

    def start() -> None:
        try:
            backend.start(Deadline(30), print)
        except StartCancelled as exc:
            found.append(exc)

    thread = threading.Thread(target=start)
    thread.start()
    gate.open("w").close()  # waits until the program runs, and so until the start waits for it
    backend.stop()
    thread.join()
    assert len(found) == 1
    assert psutil.Process().children() == []


def test_a_folder_that_is_not_there(make: Callable[..., LocalBackend]) -> None:
    with pytest.raises(SettingError, match="nowhere"):
        make(workspace="/nowhere").start(Deadline(30), print)
