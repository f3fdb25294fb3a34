"""Windows and macOS as hosts (E1, E2), by fakes: otherplatform.py takes away what they lack.

What is tested is that nothing of ours needs it. Nobody has seen the real ones; docs/engines.md.
"""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path, PureWindowsPath

import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

from docker_kernel import files, requirements
from docker_kernel.backends import streams, workspace
from docker_kernel.backends.address import find
from docker_kernel.backends.streams import PipeStream
from docker_kernel.checks import parse_mount
from docker_kernel.cli.live import OneKernel
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import ConnectionLost, EngineError
from docker_kernel.handover import kernel_name
from docker_kernel.requirements import Wanted
from docker_kernel_magics.asking import Asking
from docker_kernel_server import messages as wire
from kernels import PATIENCE, Kernel
from test_client import connect
from wire import Server

FAKE = Path(__file__).with_name("otherplatform.py")
PLATFORMS = ["win32", "darwin"]

EVERYTHING = """
import importlib, pkgutil, sys
from pathlib import Path

for package in ("docker_kernel", "docker_kernel_magics"):
    top = importlib.import_module(package)
    for item in pkgutil.walk_packages(top.__path__, f"{package}."):
        if not item.name.endswith("__main__"):
            importlib.import_module(item.name)

from docker_kernel import files, tools
from docker_kernel.backends import address, dangers, hints, mounts, owners, workspace
from docker_kernel.cli import main
from docker_kernel.cli.printer import Printer
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.doctor import machine
from docker_kernel.endpoint import Endpoint
from docker_kernel_server import messages as wire

def run(*words):
    try:
        code = main(words)
    except SystemExit as exc:
        code = exc.code
    assert code == 0, (words, code)

run("--help")
run("config")
run("config", "--template", "production")
run("--generate-config")
run("install", "--name", "other", "--memory", "3g")
run("list")
run("uninstall", "--yes", "other")

settings = Settings.load(environ={})
choice = workspace.choose(settings, [], address.Address("npipe:////./pipe/docker_engine"))
assert choice.folder == Path.cwd(), choice
assert mounts.bind(choice.folder, "/workspace")[0]["Source"] == str(Path.cwd())
assert "home folder" in dangers.danger(Path.home(), dangers.homes_near(Path.home()), [])
me = owners.Owner.me()
assert me.lives() and not me.hidden() and all(me.words().values())
assert hints.gather("x", "", False, OSError(2, "no")).platform == sys.platform
assert machine.versions().level == "ok"

tools.set_docker_client(tools.create_docker_client("localhost", int(sys.argv[1])))
done = tools.run_shell_command("echo from a command; exit 3")
assert (done["exit_code"], done["stdout"]) == (3, "from a command\\n"), done
assert tools.run_python_code("print(6 * 7)")["stdout"] == "42\\n"

client = Client(Endpoint("127.0.0.1", int(sys.argv[1]), None), Deadline(30))
Path("local").write_bytes(b"\\r\\n\\x1a\\xff" * 9999)
files.put(client, Path("local"), "far")
Path("back").write_bytes(b"before")
files.get(client, "far", Path("back"))
assert Path("back").read_bytes() == Path("local").read_bytes()
assert "far" in [entry.name for entry in files.list(client, ".")]
client.ask(wire.OpenSession(client.new_id(), "s"))
end = client.request(wire.Execute(client.new_id(), "s", "6 * 7")).result(60)
assert end.reason == "ok", end
client.close()

printer = Printer(sys.stdout)
printer.cell("code", 1, "x")
print("… all is well")
"""


def on(
    platform: str, code: str, *words: str, folder: Path, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """Run code there."""
    own = {f"{name}_DIR": str(folder / name) for name in ("JUPYTER_CONFIG", "JUPYTER_DATA")}
    more = {"IPYTHONDIR": str(folder / "ipython"), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-W", "error", FAKE, platform, code, *words],
        cwd=folder,
        env={**os.environ, **own, **more, **environ},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("platform", PLATFORMS)
def test_all_is_imported_and_works_with_a_server(
    platform: str, server: Server, tmp_path: Path
) -> None:
    """E1, E12, F1: settings, commands, tools, files and cells; on a console of few characters."""
    done = on(platform, EVERYTHING, str(server.port), folder=tmp_path, PYTHONIOENCODING="cp1252")
    assert done.stdout.decode("cp1252").endswith("all is well\n"), done
    assert done.stderr == b""


class KernelElsewhere(Kernel):
    """The kernel's process on Windows."""

    def make_specs(self, *arguments: str) -> KernelSpecManager:
        class Specs(OneKernel):
            def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
                spec = super().get_kernel_spec(kernel_name)
                # On Windows, Jupyter gives the handle of a process for its number.
                code = (
                    "import os; os.environ.pop('JPY_PARENT_PID', 0); "
                    "from docker_kernel.launch import main; main()"
                )
                words = spec.argv[spec.argv.index("-f") :]
                spec.argv = [sys.executable, str(FAKE), "win32", code, *words]
                return spec

        specs = Specs()
        specs.arguments = ("--log-level=ERROR", *arguments)
        return specs


def test_a_kernel_runs_cells_on_windows(server: Server, tmp_path: Path) -> None:
    """K1, K5: by messages, as this kernel's interrupts come."""
    with KernelElsewhere("--mode=attached", f"--port={server.port}", folder=tmp_path) as kernel:
        assert kernel.run("print('→'); 6 * 7").result == "42"
        code = "print('begun', flush=True)\nimport time; time.sleep(600)"
        kernel.client.execute(code, stop_on_error=False)
        kernel.next_output(
            lambda message: (
                message["msg_type"] == "stream" and "begun" in message["content"]["text"]
            )
        )
        kernel.manager.interrupt_kernel()
        kernel.next_output(lambda message: message["msg_type"] == "error")
        assert kernel.run("'it lives'").result == "'it lives'"


def test_without_docker_desktop_a_cell_on_windows_says_so(tmp_path: Path) -> None:
    """E2: the SDK lets an error through that is no OSError."""
    code = """
import sys, types

class error(Exception):
    def __init__(self, *words):
        super().__init__(*words)
        self.winerror, self.funcname, self.strerror = words

def create(*_):
    raise error(number, "CreateFile", "Windows says no.")

for name in ("pywintypes", "win32api", "win32event", "win32file", "win32pipe"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["pywintypes"].error = sys.modules["win32pipe"].error = error
sys.modules["win32pipe"].NMPWAIT_USE_DEFAULT_WAIT = 0
sys.modules["win32event"].INFINITE = -1
win32file = sys.modules["win32file"]
win32file.GENERIC_READ = win32file.GENERIC_WRITE = win32file.OPEN_EXISTING = 0
win32file.FILE_FLAG_OVERLAPPED = 0
win32file.CreateFile = create

import docker.api.client
from docker.transport import npipeconn
docker.api.client.IS_WINDOWS_PLATFORM = True
docker.api.client.NpipeHTTPAdapter = npipeconn.NpipeHTTPAdapter

from docker_kernel.backends.docker import Engine
from docker_kernel.deadline import Deadline
from docker_kernel.errors import DockerKernelError
for number in map(int, sys.argv[1:]):
    try:
        Engine({}, Deadline(9))
    except DockerKernelError as exc:
        print(f"{type(exc).__name__}: {exc}", end="\\0")
"""
    done = on("win32", code, "2", "5", "233", folder=tmp_path, PATH="/none")
    missing, denied, broken, _ = done.stdout.decode().split("\0")
    assert "EngineNotFound: there is no Docker engine on this machine" in missing, done
    assert "EngineDenied" in denied
    assert "docker-users" in denied
    assert "EngineNotRunning" in broken
    for line in (missing, denied, broken):
        assert "Windows says no" in line
        assert "MODE=local" not in line, "it doesn't work there"


def test_an_engine_s_address_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """E2: Python has no Unix sockets there."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EngineError, match=r"npipe:////\./pipe/NAME"):
        find({"DOCKER_HOST": "unix:///var/run/docker.sock"})
    assert find({"DOCKER_HOST": "npipe:////./pipe/x"}).parts.path == "//./pipe/x"


class BrokenPipe:
    """What the Docker SDK has for a Windows pipe whose other end has gone."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.closed = 0

    def recv_into(self, found: bytearray) -> int:
        if self._number:
            self.sendall(b"")
        found[:2] = b"ab"
        return 2

    def sendall(self, data: bytes) -> None:
        error = Exception("no OSError")
        error.winerror, error.strerror = self._number, "The pipe is gone"  # type: ignore[attr-defined]
        raise error

    def close(self) -> None:
        self.closed += 1


def test_a_pipe_s_errors_are_those_of_a_stream() -> None:
    """P5: also where all goes through the engine; and what only sockets can isn't asked of it."""
    pipe = BrokenPipe(6)
    stream = streams.ProgramStream(PipeStream(pipe, "x"), b"", (1,))  # type: ignore[arg-type]
    assert stream.writable()
    for ask in (lambda: stream.send(b"x"), stream.receive):
        with pytest.raises(ConnectionLost, match="the pipe is gone"):
            ask()
    for end in (stream.shut, stream.deafen, stream.abort, stream.close):
        end()
    assert pipe.closed == 4
    assert PipeStream(BrokenPipe(109), "x").receive() == b""  # type: ignore[arg-type]
    assert PipeStream(BrokenPipe(0), "x").receive() == b"ab"  # type: ignore[arg-type]


# ---- names ---------------------------------------------------------------------------------------


def test_a_drive_in_a_mount() -> None:
    assert parse_mount("mounts", r"C:\data:/data") == (r"C:\data", "/data", False)
    assert parse_mount("mounts", "C:/data:/data:ro") == ("C:/data", "/data", True)


@pytest.mark.parametrize("name", ["C:evil", "a\\b", "\\\\far\\share", "a/b", "..", "C:"])
def test_no_name_of_the_container_s_leads_elsewhere_on_windows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F6: a program may make a path of what `list` says."""
    monkeypatch.setattr(files, "PurePath", PureWindowsPath)
    entry = {"name": name, "kind": "file", "size": 1, "mtime": 0}
    with pytest.raises(ValueError, match="no name of a file"):
        files._entry(entry)
    assert files._entry({**entry, "name": "12:30 log"}).name == "12:30 log"


def test_a_folder_of_windows_is_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "PurePath", PureWindowsPath)
    monkeypatch.setattr(Path, "is_dir", lambda _self: True)
    with pytest.raises(Exception, match="it is a folder of this machine"):
        Wanted().add_packages([r"C:\work\mine"])


def test_a_long_name_is_not_cut_in_the_midst_of_a_character() -> None:
    """On Windows, half a character can't even be decoded."""
    name = kernel_name(f"kernel-{'é' * 150}.json")
    assert name.encode("utf-8")
    assert len(name.encode("utf-8")) <= 200
    assert name != kernel_name(f"kernel-{'é' * 151}.json")


def test_names_in_other_capitals_are_the_same_place_where_the_disk_says_so(tmp_path: Path) -> None:
    """S2: homes, the guarded environment, and the audit log, as on macOS."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import otherplatform
otherplatform.any_case()
from pathlib import Path
from docker_kernel import gate
from docker_kernel.backends import dangers, guarded
from docker_kernel.config import Settings

here = Path.cwd()
(here / "Home" / "Project" / ".venv" / "lib").mkdir(parents=True)
home, project = here / "Home", here / "Home" / "Project"
assert (here / "HOME" / "project").is_dir(), "the fake works"
assert "it is a home folder" in dangers.danger(here / "hOME", [home], [])
assert "holds the home folder" in dangers.danger(here, [here / "home"], [])
assert dangers.danger(here / "HOME" / "project", [home], []) == ""

# By whatever name the folder is mounted, the environment in it is found.
for name in ("Project", "project", "PROJECT"):
    found = guarded.guards(home / name, "/workspace", [project / ".venv"])
    assert [item["Target"] for item in found] == ["/workspace/.venv"], found
    # In the container it would be written by the name .VENV, past the guard.
    assert "in other capitals" in guarded.why_not_guarded(home / name, [project / ".venv"])
assert guarded.why_not_guarded(project, [here / "elsewhere"]) == ""

settings = Settings(workspace=str(project), audit_log=str(here / "HOME" / "project" / "log"))
try:
    gate.Gate(settings)
except Exception as exc:
    assert "its code could change the log" in str(exc), exc
    print("all is well")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(FAKE.parent)],
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == b"all is well\n", done


def test_where_capitals_matter_an_environment_is_guarded(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    from docker_kernel.backends.guarded import why_not_guarded

    assert why_not_guarded(tmp_path.resolve(), [tmp_path / ".venv"]) == ""
    # A link is resolved in the container, and meets the guard.
    (tmp_path / ".VENV").symlink_to(".venv")
    assert why_not_guarded(tmp_path.resolve(), [tmp_path / ".venv"]) == ""


def test_the_container_s_user_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert str(workspace.choose_user("", tmp_path)) == "1000:1000"
    assert workspace.may(workspace.User("4711"), tmp_path, os.W_OK), "as the caller, by Desktop"


# ---- Ctrl-C --------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_cell_of_a_magic_that_prints_nothing(server: Server) -> None:
    """M5. On Windows a signal wakes nobody who waits for a lock; neither does `interrupt_main`."""
    client = connect(Endpoint("127.0.0.1", server.port, None))
    client.ask(wire.OpenSession(client.new_id(), "platforms"))
    begun = threading.Event()
    request = wire.Execute(
        client.new_id(), "platforms", "print(1, flush=True)\nimport time; time.sleep(600)"
    )

    def ctrl_c() -> None:
        begun.wait(PATIENCE)
        _thread.interrupt_main(signal.SIGINT)

    thread = threading.Thread(target=ctrl_c)
    thread.start()
    try:
        end = Asking(client, request, lambda _event: begun.set()).wait()
    finally:
        thread.join()
        client.close()
    assert end.reason != "ok"
