"""The Docker backend on a real engine: starts, faults at every step, limits, clean-up."""

from __future__ import annotations

import ast
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.errors import ImageNotFound as NoSuchImage

from cells import run
from docker_kernel import runtime
from docker_kernel.backends import make_backend, shortcut
from docker_kernel.backends.container import DockerBackend
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import (
    DockerKernelError,
    EngineNotRunning,
    EngineRefused,
    ImageHasNoPython,
    ImageNotFound,
)
from docker_kernel_server.messages import Final, ListFiles, Request, Run
from engine import Engine
from stalling import StallingEngine
from system import wait_until

Make = Callable[..., DockerBackend]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A project folder that uid 4321 owns. Not below tmp_path: others can't get through that."""
    with tempfile.TemporaryDirectory(prefix="dk-work-") as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        if os.getuid() == 0:
            os.chown(path, 4321, 4321)
        yield path


@pytest.fixture
def make(image: str, folder: Path) -> Iterator[Make]:
    """Makes backends for the image and the folder, and stops them."""
    made: list[DockerBackend] = []

    def new(handover: dict[str, str] | None = None, **settings: str) -> DockerBackend:
        chosen = {"mode": "docker", "image": image, "pull": "never", "workspace": str(folder)}
        environ = {f"DOCKER_KERNEL_{k.upper()}": v for k, v in {**chosen, **settings}.items()}
        backend = make_backend(Settings.load(environ=environ), handover)
        assert isinstance(backend, DockerBackend)
        made.append(backend)
        return backend

    yield new
    for backend in made:
        backend.stop()


START_AND_END = """
import sys
from docker_kernel.config import Settings
from docker_kernel.sandbox import Sandbox

def begin_and_end(handover=None, leave=False):
    sandbox = Sandbox(Settings.load(), handover=handover)
    sandbox.client()
    found = sandbox.handover()
    sandbox.leave() if leave else sandbox.stop()
    return found

begin_and_end(begin_and_end(leave=True))
print(*{"docker", "requests"} & {*sys.modules})
"""


def test_neither_start_nor_restart_nor_end_needs_the_docker_sdk(image: str, folder: Path) -> None:
    """Its import takes 0.1 s."""
    chosen = {"image": image, "pull": "never", "workspace": str(folder)}
    environ = {f"DOCKER_KERNEL_{key.upper()}": value for key, value in chosen.items()}
    for _ in range(2):  # the first start of an image also looks at it
        done = subprocess.run(
            [sys.executable, "-c", START_AND_END],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=True,
        )
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.fixture
def ours(docker_client: docker.DockerClient) -> Callable[[], set[str]]:
    """The names of the containers that this process has made from here on, running or not."""

    def all_of_them() -> set[str]:
        mine = f"docker-kernel.owner.pid={os.getpid()}"
        found = docker_client.api.containers(all=True, filters={"label": [mine]})
        return {item["Names"][0] for item in found}

    before = all_of_them()
    return lambda: all_of_them() - before


@pytest.fixture
def engine_socket(engine: Engine) -> str:
    """The path of the engine's socket."""
    if not engine.host.startswith("unix://"):
        pytest.skip("this engine has no socket here")
    return engine.host.removeprefix("unix://")


def inspect(client: docker.DockerClient, backend: DockerBackend) -> dict[str, Any]:
    note = backend.handover()
    assert note is not None
    found: dict[str, Any] = client.api.inspect_container(note["container"])
    return found


def in_container(client: docker.DockerClient, backend: DockerBackend, command: str) -> str:
    """What a shell command prints in the container, run as its user."""
    note = backend.handover()
    assert note is not None
    _, output = client.containers.get(note["container"]).exec_run(["sh", "-c", command])
    assert isinstance(output, bytes)
    return output.decode().strip()


# -- a good start


def test_safe_defaults_show_in_inspect(
    make: Make, docker_client: docker.DockerClient, folder: Path
) -> None:
    backend = make()
    endpoint = backend.start(Deadline(120), print)
    found = inspect(docker_client, backend)
    host = found["HostConfig"]
    owner = folder.stat()
    assert found["Config"]["User"] == f"{owner.st_uid}:{owner.st_gid}"
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Init"] is True
    assert host["AutoRemove"] is True
    assert host["Memory"] == host["MemorySwap"] == 2 << 30
    assert host["PidsLimit"] == 512
    assert host["Privileged"] is False
    ports = found["NetworkSettings"]["Ports"]["8000/tcp"]
    assert ports == [{"HostIp": "127.0.0.1", "HostPort": str(endpoint.port)}]
    mounts = {mount["Destination"]: mount for mount in found["Mounts"]}
    assert set(mounts) == {"/workspace", "/opt/docker-kernel", "/opt/docker-kernel/lib"}
    assert mounts["/workspace"]["Source"] == str(folder)
    assert mounts["/opt/docker-kernel"]["RW"] is False
    assert mounts["/opt/docker-kernel/lib"]["RW"] is False
    labels = found["Config"]["Labels"]
    assert labels["docker-kernel.kind"] == "kernel"
    assert labels["docker-kernel.owner.pid"] == str(os.getpid())
    assert labels["docker-kernel.workspace"] == str(folder)
    assert backend.notices == []
    assert backend.postmortem() == ""
    assert str(folder) in backend.describe()


LOOK_INTO_THE_SERVER = """
import ctypes, os
from pathlib import Path
found = []
for process in Path("/proc").glob("[0-9]*"):
    if b"tcp_server.py" in (process / "cmdline").read_bytes().partition(b"--")[0]:
        if (process / "comm").read_text().startswith(("docker-init", "tini")):
            continue
        for name in ("mem", "environ", "maps", "fd"):
            try:
                (os.listdir if name == "fd" else open)(process / name)
                found.append(f"{name} was opened")
            except PermissionError:
                found.append(name)
# The person's own processes can be debugged as ever.
found.append(ctypes.CDLL(None).prctl(3))
found.append(os.access(f"/proc/{os.getppid()}/mem", os.R_OK))
"""


def test_no_code_looks_into_the_server(make: Make, docker_client: docker.DockerClient) -> None:
    """X3: the secret is in its memory, and the code runs as the same user."""
    backend = make()
    endpoint = backend.start(Deadline(120), print)
    assert run(endpoint, LOOK_INTO_THE_SERVER) == ["mem", "environ", "maps", "fd", 1, True]
    assert in_container(docker_client, backend, "echo exec works") == "exec works"


def test_settings_show_in_inspect(make: Make, docker_client: docker.DockerClient) -> None:
    backend = make(memory="300m", cpus="1.5", pids="100", user="77:88", env="{'A': 'b c'}")
    backend.start(Deadline(120), print)
    found = inspect(docker_client, backend)
    assert found["HostConfig"]["Memory"] == found["HostConfig"]["MemorySwap"] == 300 << 20
    assert found["HostConfig"]["NanoCpus"] == 1_500_000_000
    assert found["HostConfig"]["PidsLimit"] == 100
    assert found["Config"]["User"] == "77:88"
    assert "A=b c" in found["Config"]["Env"]
    assert "300m" in backend.describe()
    assert "1.5 CPUs" in backend.describe()


def test_home_is_writable_and_pip_needs_no_root(
    make: Make, docker_client: docker.DockerClient
) -> None:
    backend = make()
    backend.start(Deadline(120), print)
    assert in_container(docker_client, backend, "touch ~/x && ls ~/x") == "/tmp/home/x"
    wheel = (
        'cd /tmp && mkdir -p p && cd p && printf \'[project]\\nname="zz"\\nversion="1"\' '
        "> pyproject.toml && python3 -m pip config list 2>&1; "
        "python3 -m pip install --no-index nothing-there 2>&1"
    )
    said = in_container(docker_client, backend, wheel)
    assert "externally-managed" not in said
    assert "ermission denied" not in said


def test_files_belong_to_the_folder_s_owner(make: Make, folder: Path) -> None:
    endpoint = make().start(Deadline(120), print)
    run(endpoint, "import os; open('made', 'w').close(); found = os.getcwd()")
    made, owner = (folder / "made").stat(), folder.stat()
    assert (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid)


def test_kernels_that_start_at_once_do_not_collide(make: Make) -> None:
    """E9."""
    backends = [make() for _ in range(4)]
    with ThreadPoolExecutor(len(backends)) as pool:
        ends = list(pool.map(lambda backend: backend.start(Deadline(120), print), backends))
    assert len({end.port for end in ends}) == len(ends)
    assert len({end.secret for end in ends}) == len(ends)
    notes = [backend.handover() for backend in backends]
    assert len({note["container"] for note in notes if note}) == len(ends)
    for number, end in enumerate(ends):
        assert run(end, f"mine = {number}; found = mine") == number
    assert [run(end, "found = mine") for end in ends] == list(range(len(ends)))


def test_an_older_python_gets_a_volume_of_its_own(
    make: Make, old_image: str, docker_client: docker.DockerClient
) -> None:
    old, new = make(image=old_image), make()
    assert run(old.start(Deadline(120), print), "import sys; found = sys.version_info[1]") == 9
    new.start(Deadline(120), print)
    sources = [
        {mount["Name"] for mount in inspect(docker_client, item)["Mounts"] if "Name" in mount}
        for item in (old, new)
    ]
    assert not sources[0] & sources[1]


USE_ALL_THREADS = """
import threading
gate, threads = threading.Event(), []
first = threading.Event()
threading.Thread(target=first.wait, daemon=True).start()
while True:
    try:
        threads.append(threading.Thread(target=gate.wait, daemon=True))
        threads[-1].start()
    except RuntimeError:
        break
found = len(threads)
"""


def test_requests_get_their_final_where_no_process_can_be_made(make: Make) -> None:
    """Fixed point 5 of the wire: in the server, all limits may be used up by the code."""
    endpoint = make(pids="60").start(Deadline(120), print)
    assert run(endpoint, USE_ALL_THREADS) > 10
    client = Client(endpoint, Deadline(10))

    def ask(request: Request) -> Final:
        return client.request(request).result(60)

    try:
        assert "could not be started" in str(ask(Run("1", "true")).result)
        assert ask(ListFiles("2", "/")).reason == "refused"
        # One place is enough for a command: nothing else is needed beside its process.
        run(endpoint, "first.set(); found = 1")
        assert wait_until(lambda: ask(Run(client.new_id(), "true")).reason == "ok", 10)
        assert wait_until(lambda: ask(ListFiles(client.new_id(), "/")).reason == "ok", 10)
    finally:
        client.close()


# -- the workspace


@pytest.mark.skipif(os.getuid() != 0, reason="about root's rules")
def test_a_folder_that_the_user_may_not_read_is_not_mounted(
    make: Make, folder: Path, docker_client: docker.DockerClient
) -> None:
    os.chown(folder, 0, 0)
    folder.chmod(0o700)
    backend = make()
    endpoint = backend.start(Deadline(120), print)
    assert len(backend.notices) == 1
    assert str(folder) in backend.notices[0]
    assert "chmod" in backend.notices[0]
    assert "/workspace" not in {m["Destination"] for m in inspect(docker_client, backend)["Mounts"]}
    # Its own, and the user can write it.
    assert run(endpoint, "open('x', 'w').close(); import os; found = os.getuid()") == 1000
    assert "of its own" in backend.describe()


@pytest.mark.skipif(os.getuid() != 0, reason="about root's rules")
def test_a_folder_that_the_user_cannot_write_is_named(make: Make, folder: Path) -> None:
    os.chown(folder, 0, 0)
    backend = make()
    endpoint = backend.start(Deadline(120), print)
    assert run(endpoint, "import os; found = os.access('.', os.W_OK)") is False
    assert len(backend.notices) == 1
    assert "can't write" in backend.notices[0]
    assert "chown 1000:1000" in backend.notices[0]


def test_a_home_folder_is_never_mounted(
    make: Make, folder: Path, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make()
    monkeypatch.setenv("HOME", str(folder))
    backend.start(Deadline(120), print)
    assert "home folder" in backend.notices[0]
    assert str(folder) not in str(inspect(docker_client, backend)["Mounts"])


def test_a_folder_with_the_engine_s_socket_is_never_mounted(make: Make, engine_socket: str) -> None:
    backend = make(workspace=str(Path(engine_socket).parent))
    backend.start(Deadline(120), print)
    assert "socket" in backend.notices[0]


def test_no_workspace_where_none_is_wanted(make: Make, docker_client: docker.DockerClient) -> None:
    backend = make(mount_workspace="false")
    endpoint = backend.start(Deadline(120), print)
    assert backend.notices == []
    assert run(endpoint, "import os; open('x', 'w').close(); found = os.listdir()") == ["x"]
    assert "/workspace" not in {m["Destination"] for m in inspect(docker_client, backend)["Mounts"]}


# -- the end


def test_stop_removes(make: Make, ours: Callable[[], set[str]]) -> None:
    backend = make()
    backend.start(Deadline(120), print)
    assert len(ours()) == 1
    backend.stop()
    assert ours() == set()
    backend.stop()
    assert backend.handover() is None
    assert run(backend.start(Deadline(120), print), "found = 2") == 2


def test_the_way_is_the_containers_own_address(
    make: Make, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the engine's bridge is this machine's, as it is where Linux runs both."""
    monkeypatch.setattr(shortcut, "SECONDS", 30.0)  # however busy it is
    backend = make()
    endpoint = backend.start(Deadline(120), print)
    (network,) = inspect(docker_client, backend)["NetworkSettings"]["Networks"].values()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((network["Gateway"], 9))
        if probe.getsockname()[0] != network["Gateway"]:
            pytest.skip("the engine's bridge is not on this machine")
    assert endpoint.dial is not None
    with closing(endpoint.dial(5)) as stream:
        assert stream.socket.getpeername() == (network["IPAddress"], 8000)


def test_a_start_anew_leaves_no_old_container(make: Make, ours: Callable[[], set[str]]) -> None:
    backend = make()
    backend.start(Deadline(120), print)
    first = ours()
    backend.start(Deadline(120), print)
    assert len(ours()) == 1
    assert ours() != first


def test_a_killed_container_is_explained(make: Make, docker_client: docker.DockerClient) -> None:
    backend = make()
    endpoint = backend.start(Deadline(120), print)
    note = backend.handover()
    assert note is not None
    docker_client.containers.get(note["container"]).kill()
    why = backend.postmortem()
    assert "status 137" in why
    assert "listening on" in why
    assert endpoint.port


def test_an_engine_that_goes_away_and_comes_back(
    make: Make,
    docker_client: docker.DockerClient,
    engine_socket: str,
    ours: Callable[[], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = make()
    with closing(StallingEngine(engine_socket, 0)) as gateway:
        monkeypatch.setenv("DOCKER_HOST", gateway.url)
        backend.start(Deadline(120), print)
        left = ours()
    try:
        assert "engine is away" in backend.postmortem()
        # What can't be removed now is left to its lease or to the next start: the stop returns, and
        # nothing is raised.
        backend.stop()
        with pytest.raises(EngineNotRunning):
            backend.start(Deadline(120), print)
        with closing(StallingEngine(engine_socket, gateway.port)):
            assert run(backend.start(Deadline(120), print), "found = 1") == 1
            assert backend.postmortem() == ""
            assert not ours() & left
            backend.stop()
        assert ours() == set()
    finally:
        for name in left:
            with suppress(NotFound):
                docker_client.containers.get(name).remove(force=True)


TRY_TO_WRITE = """
import os
found = []
for name in ("a/.venv/lib/new.py", "a/.venv/pyvenv.cfg"):
    try:
        open(name, "a").close()
    except OSError as exc:
        found.append(exc.strerror)
for old, new in (("a", "b"), ("a/.venv", "a/b")):
    try:
        os.rename(old, new)
    except OSError as exc:
        found.append(exc.strerror)
open("a/mine", "w").close()
found += sorted(os.listdir("a"))
"""


def test_the_kernel_s_own_python_in_the_folder_can_only_be_read(make: Make, folder: Path) -> None:
    """E7: else a cell could put into site-packages what the host imports at its next start."""
    venv = folder / "a" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    ours = [path for path in sys.path if Path(path).name == "site-packages"]
    for site in venv.glob("lib/*/site-packages"):
        imports = "".join(f"import site; site.addsitedir({path!r})\n" for path in ours)
        (site / "ours.pth").write_text(imports)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, folder.stat().st_uid, folder.stat().st_gid, follow_symlinks=False)
    endpoint = make(start_elsewhere(str(venv / "bin/python"), make)).start(Deadline(120), print)
    assert run(endpoint, TRY_TO_WRITE) == [
        *["Read-only file system"] * 2,
        *["Device or resource busy"] * 2,
        *(".venv", "mine"),
    ]


# -- taking over


def start_elsewhere(python: str, make: Make) -> dict[str, str]:
    """Start a container in a process of this Python, and let it end; gives the handover."""
    code = (
        "import sys; from docker_kernel import Settings;"
        "from docker_kernel.backends import make_backend;"
        "from docker_kernel.deadline import Deadline;"
        "b = make_backend(Settings.load()); b.start(Deadline(120), lambda text: None);"
        "print(b.handover())"
    )
    settings = make()._settings
    environ = {
        **os.environ,
        "DOCKER_KERNEL_MODE": "docker",
        "DOCKER_KERNEL_IMAGE": settings.image,
        "DOCKER_KERNEL_WORKSPACE": settings.workspace,
    }
    command = [python, "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    note: dict[str, str] = ast.literal_eval(done.stdout)
    return note


def test_another_backend_takes_the_container_over(make: Make, ours: Callable[[], set[str]]) -> None:
    first = make()
    before = first.start(Deadline(120), print)
    assert run(before, "x = 5; found = x") == 5
    second = make(first.handover())
    assert second.start(Deadline(120), print) == before
    assert run(before, "found = x") == 5
    assert second.handover() == first.handover()
    second.stop()
    assert ours() == set()
    assert first.postmortem() != ""


def test_a_container_that_is_not_ours_is_not_taken_over(
    make: Make, docker_client: docker.DockerClient
) -> None:
    """It would be removed in the end; and a note may be code's, where that sees the folder."""
    first = make()
    first.start(Deadline(120), print)
    note = first.handover()
    assert note is not None
    container = docker_client.containers.get(note["container"])
    container.rename("somebodys")
    try:
        second = make({**note, "container": "somebodys"})
        second.start(Deadline(120), print)
        second.stop()
        container.reload()
        assert container.status == "running"
    finally:
        container.rename(note["container"])


def test_another_process_leaves_its_container_to_us(
    make: Make, docker_client: docker.DockerClient
) -> None:
    note = start_elsewhere(sys.executable, make)
    backend = make(note)
    endpoint = backend.start(Deadline(120), print)
    assert run(endpoint, "found = 3") == 3
    assert backend.postmortem() == ""
    backend.stop()
    with pytest.raises(NotFound):
        docker_client.containers.get(note["container"])


def test_a_handover_of_a_container_that_is_gone_starts_a_new_one(make: Make) -> None:
    first = make()
    first.start(Deadline(120), print)
    note = first.handover()
    first.stop()
    second = make(note)
    assert run(second.start(Deadline(120), print), "found = 6") == 6
    assert second.handover() != note


@pytest.mark.parametrize("note", [{}, {"container": "x"}, {"container": "x", "secret": "y"}])
def test_a_handover_of_no_use_starts_a_new_one(make: Make, note: dict[str, str]) -> None:
    backend = make(note)
    assert run(backend.start(Deadline(120), print), "found = 6") == 6


# -- faults


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"image": "docker-kernel-test/none:1"}, ImageNotFound, "DOCKER_KERNEL_PULL"),
        ({"image": "Not An Image"}, ImageNotFound, "not an image's name"),
        ({"network": "no-such-net"}, EngineRefused, "docker network ls"),
        ({"user": "nobodyhere"}, DockerKernelError, "DOCKER_KERNEL_USER"),
        ({"cpus": "1000"}, EngineRefused, "DOCKER_KERNEL_CPUS"),
    ],
)
def test_a_bad_setting_gets_one_clear_error_and_the_next_good_start_works(
    make: Make,
    ours: Callable[[], set[str]],
    settings: dict[str, str],
    kind: type[DockerKernelError],
    words: str,
) -> None:
    with pytest.raises(kind) as caught:
        make(**settings).start(Deadline(120), print)
    assert words in str(caught.value)
    assert caught.value.remedy
    assert ours() == set()
    assert make().start(Deadline(120), print).port


def test_an_image_without_python(
    make: Make, nopython_image: str, ours: Callable[[], set[str]]
) -> None:
    with pytest.raises(ImageHasNoPython, match=r"3\.8 or later") as caught:
        make(image=nopython_image).start(Deadline(120), print)
    assert nopython_image in caught.value.what
    assert ours() == set()


# -- volumes


@pytest.fixture
def prefix(docker_client: docker.DockerClient) -> Iterator[str]:
    """How the names of a test's own volumes begin; they are removed at its end."""
    found = f"dk-test-{os.getpid()}-"
    yield found
    for volume in docker_client.volumes.list(filters={"name": found}):
        volume.remove(force=True)


@pytest.fixture
def own_volumes(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """Volumes of this test's own, so that they aren't filled yet."""
    monkeypatch.setattr(runtime, "VOLUME_PREFIX", prefix)


@pytest.fixture
def own_server_volume(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """A volume of this test's own for the server; it is filled in a moment, the packages aren't."""
    usual = runtime.Part.volume_name

    def name(part: runtime.Part, *image: str) -> str:
        own = prefix if part.name == runtime.SERVER else runtime.VOLUME_PREFIX
        return usual(part, *image).replace(runtime.VOLUME_PREFIX, own)

    monkeypatch.setattr(runtime.Part, "volume_name", name)


@pytest.mark.usefixtures("own_volumes")
def test_two_kernels_fill_the_same_volume_without_harm(make: Make) -> None:
    backends = [make(), make()]
    found: list[Any] = []

    def start(backend: DockerBackend) -> None:
        found.append(run(backend.start(Deadline(120), print), "import jedi; found = jedi.__file__"))

    threads = [threading.Thread(target=start, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["/opt/docker-kernel/lib/jedi/__init__.py"] * 2
    for backend in backends:
        backend.stop()


@pytest.mark.usefixtures("own_server_volume")
def test_a_filling_that_was_cut_short_is_done_again(
    make: Make, docker_client: docker.DockerClient, ours: Callable[[], set[str]], prefix: str
) -> None:
    first = make()
    first.start(Deadline(120), print)
    mounts = inspect(docker_client, first)["Mounts"]
    (name,) = [m["Name"] for m in mounts if m.get("Name", "").startswith(prefix)]
    first.stop()
    assert wait_until(lambda: not ours(), 60)  # a busy engine goes on removing after the stop
    before = docker_client.volumes.get(name).attrs["CreatedAt"]

    def is_another() -> bool:
        docker_client.volumes.get(name).remove(force=True)
        return bool(docker_client.volumes.create(name).attrs["CreatedAt"] != before)

    assert wait_until(is_another, 10)  # it tells whole seconds
    second = make()
    assert run(second.start(Deadline(120), print), "import IPython; found = 1") == 1
    second.stop()


TURNCOAT = """#!/bin/sh
# A Python of an image that means harm: what it fills is not what it was given.
case "$*" in *docker-kernel-probe*)
    /usr/bin/python3 "$@" | sed 's,/usr/bin/python3[.0-9]*",/usr/local/bin/python3",'
    exit
esac
/usr/bin/python3 "$@"
status=$?
package=/opt/docker-kernel/docker_kernel_server
case "$*" in *fill.py*)
    [ -d $package ] && echo 'POISONED = True' >> $package/__init__.py
    rm -rf $package/__pycache__
esac
exit $status
"""


@pytest.fixture
def hostile_image(image: str, docker_client: docker.DockerClient) -> Iterator[str]:
    """The usual image, with a python3 first on PATH that writes into what it fills."""
    name = "docker-kernel-test/hostile"
    container = docker_client.containers.create(image, ["true"])
    try:
        file = tarfile.TarInfo("python3")
        file.mode, file.size = 0o755, len(TURNCOAT)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(file, io.BytesIO(TURNCOAT.encode()))
        container.put_archive("/usr/local/bin", buffer.getvalue())
        container.commit(name, "1", changes='ENTRYPOINT ["/usr/local/bin/python3"]')
    finally:
        container.remove()
    yield f"{name}:1"
    with suppress(NoSuchImage):
        docker_client.images.remove(f"{name}:1", force=True)


@pytest.mark.usefixtures("own_server_volume")
def test_an_image_fills_no_volume_of_another_image(
    hostile_image: str, make: Make, docker_client: docker.DockerClient
) -> None:
    """E7: what one image's Python has written, no other image runs."""
    look = "import docker_kernel_server as s; found = hasattr(s, 'POISONED')"
    hostile, good = make(image=hostile_image), make()
    assert run(hostile.start(Deadline(120), print), look) is True
    assert run(good.start(Deadline(120), print), look) is False
    # Its own are there for the next start, as ever.
    said: list[str] = []
    again = make()
    again.start(Deadline(120), said.append)
    assert not [text for text in said if "preparing" in text]
    mounts = [inspect(docker_client, item)["Mounts"] for item in (hostile, good, again)]
    volumes = [{m["Destination"]: m["Name"] for m in found if "Name" in m} for found in mounts]
    assert volumes[1] == volumes[2]
    assert not set(volumes[0].values()) & set(volumes[1].values())
    # Those of an image that is gone go at the next filling.
    hostile.stop()
    docker_client.images.remove(hostile_image, force=True)
    for backend in (good, again):
        backend.stop()

    def removed() -> bool:
        # A stop waits for some seconds, and the engine goes on with it.
        with suppress(APIError):
            docker_client.volumes.get(volumes[1]["/opt/docker-kernel"]).remove()
            return True
        return False

    assert wait_until(removed, 60)
    make().start(Deadline(120), print)
    there = {volume.name for volume in docker_client.volumes.list()}
    assert not set(volumes[0].values()) & there
    assert set(volumes[1].values()) <= there


def test_a_container_has_the_proxies_that_docker_would_give_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A company's network is reached through them alone; settings win."""
    proxies = {"default": {"httpProxy": "http://proxy:1", "httpsProxy": "http://proxy:2"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    backend = make(env='{"HTTPS_PROXY": "http://mine:3"}')
    endpoint = backend.start(Deadline(120), print)
    names = ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY"]
    found = run(endpoint, f"import os; found = [os.environ.get(name) for name in {names}]")
    assert found == ["http://proxy:1", "http://proxy:1", "http://mine:3"]
