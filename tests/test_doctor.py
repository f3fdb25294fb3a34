"""The doctor (E11): each fault made for real where that can be, and else by what an engine says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from docker_kernel.backends import address
from docker_kernel.backends.docker import Engine
from docker_kernel.cli import main
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.doctor import engine as engines
from docker_kernel.doctor import inside, machine
from docker_kernel.doctor.engine import Known
from docker_kernel.doctor.explaining import explain
from docker_kernel.doctor.findings import IDS
from docker_kernel.errors import (
    DockerKernelError,
    EngineRefused,
    ImageNotFound,
    StartError,
    StartTimeout,
)
from docker_kernel.launcher import Launcher
from docker_kernel.sandbox import Sandbox
from faked import INFO, VERSION, FakeEngine, fake_engine
from wire import Server

NOW = 1_700_000_000.0
SEEN = inside.Seen("utf-8", "utf-8", "utf-8", {}, "1", "1", 1e9, proxies=False)
KNOWN = Known("unix:///var/run/docker.sock", INFO, VERSION, NOW)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a path that is short enough for a socket, which all may enter."""
    with tempfile.TemporaryDirectory(prefix="dk-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def fake(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine that is in order, and has the default image."""
    with fake_engine(place) as made:
        monkeypatch.setenv("DOCKER_HOST", made.url)
        made.answers["GET /images/box:1/json"] = {"Id": "sha256:1", "Size": 5e6, "Config": {}}
        made.answers["GET /volumes"] = {"Volumes": None}
        yield made


def report(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, str]]:
    """What the doctor finds, by id, and that the exit code says whether that is well."""
    capsys.readouterr()
    code = main(["doctor", "--json", *words])
    said = json.loads(capsys.readouterr().out)
    problems = [item for item in said["findings"] if item["level"] == "problem"]
    assert code == bool(problems)
    assert said["ok"] is not bool(problems)
    for item in said["findings"]:
        assert item["id"] in IDS
        if item["level"] in ("warning", "problem"):
            assert item["what"]
            assert item["why"]
            assert item["remedy"]
    assert {item["id"] for item in said["findings"]} == set(IDS)
    return {item["id"]: item for item in said["findings"]}


def test_an_engine_in_order(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "--no-container", "--image", "box:1")
    assert found["engine"]["what"] == f"Docker Engine 28.0.1 (API 1.44) at {fake.url}"
    assert found["image"]["what"] == "box:1 is here, with 5 MB"
    looked = [name for name, item in found.items() if item["level"] != "skipped"]
    before = list(IDS)[: list(IDS).index("start")]
    assert set(looked) == set(before)
    assert not [call for call in fake.asked if not call.startswith("GET ")]


def test_as_a_person_sees_it(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    fake.info(SystemTime="2001-01-01T00:00:00.123456789Z", CgroupVersion="\x1b[2J")
    assert main(["doctor", "--no-container", "--image", "box:1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"ok       engine          Docker Engine 28.0.1 (API 1.44) at {fake.url}" in lines
    (where,) = [number for number, line in enumerate(lines) if line.startswith("warning  clock ")]
    assert "s behind" in lines[where]
    assert lines[where + 1].startswith("         why: certificates")
    assert lines[where + 2].startswith("         to mend it: set both clocks")
    assert "warning" in lines[-1]
    assert "not looked at: start, folder, port" in lines[-1]
    assert "\x1b" not in "".join(lines)


# -- no engine


def test_no_engine_and_the_cell_says_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """E2, E11: one source for both."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{place}/dead.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}/dead.sock")
    found = report(capsys)
    launcher = Launcher([])
    with pytest.raises(DockerKernelError) as caught:
        launcher.opening.result(60)
    launcher.stop()
    cell = caught.value
    said = found["engine"]
    assert (said["what"], said["why"], said["remedy"]) == (cell.what, cell.why, cell.remedy)
    assert "refused" in said["why"]
    assert found["limits"]["level"] == found["start"]["level"] == "skipped"


AS_NOBODY = """
import contextlib, io, os, sys
from docker_kernel.cli import main
with contextlib.redirect_stdout(io.StringIO()):  # all modules are loaded before
    main(["doctor", "--json", "--no-container"])
os.setgroups([])
os.setresuid(65534, 65534, 65534)
sys.exit(main(["doctor", "--json", "--no-container"]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_socket_that_this_user_may_not_use(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{place}/root.sock")
        server.listen()
        Path(f"{place}/root.sock").chmod(0o600)
        environ = {**os.environ, "DOCKER_HOST": f"unix://{place}/root.sock"}
        # Root may use it, and so the first look waits for an answer: cut short.
        program = (
            "import docker_kernel.doctor.examining as d; d.CONNECT_SECONDS = 1.0\n" + AS_NOBODY
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1, done.stderr
    found = {item["id"]: item for item in json.loads(done.stdout)["findings"]}
    assert found["engine"]["level"] == "problem"
    assert "denies access" in found["engine"]["what"]
    assert found["engine"]["why"] == "Permission denied"
    assert "usermod -aG docker" in found["engine"]["remedy"]


def test_wsl_without_integration(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(place))
    monkeypatch.setenv("WSL_DISTRO_NAME", "Debian")
    monkeypatch.setattr(address, "default_url", lambda: f"unix://{place}/x")
    found = report(capsys)
    assert "isn't connected to this WSL distribution" in found["engine"]["what"]
    assert "WSL integration" in found["engine"]["remedy"]


@pytest.mark.parametrize(
    ("value", "name", "words"),
    [
        ("/var/run/docker.sock", "settings", "DOCKER_HOST=unix:///var/run/docker.sock"),
        ("foo://bar", "address", "begins with none of unix://"),
        ("tcp://", "address", "can't be a Docker engine's address"),
        ("localhost:1", "port", "no server answers at localhost:1"),
    ],
)
def test_an_odd_docker_host(
    value: str,
    name: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DOCKER_HOST", value)
    said = report(capsys)[name]
    assert said["level"] == "problem"
    assert words in f"{said['what']} {said['why']} {said['remedy']}"


def test_a_docker_host_that_counts_for_nothing() -> None:
    said = machine.address({"DOCKER_HOST": "box"}, Settings(mode="docker", host="box"))
    assert said.level == "warning"
    assert said.remedy.endswith("unset DOCKER_HOST")


def test_an_engine_on_another_machine() -> None:
    said = machine.address({"DOCKER_HOST": "tcp://box.example:2375"}, Settings())
    assert said.level == "warning"
    assert "is not encrypted" in said.what
    assert machine.address({"DOCKER_HOST": "ssh://me@box.example"}, Settings()).level == "ok"
    # Its folders aren't ours, though one of ours may have the same name.
    assert engines.disk(KNOWN).level != "skipped"
    assert engines.disk(replace(KNOWN, url="ssh://me@box.example")).level == "skipped"


def test_a_docker_context_that_is_not_there(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(place))
    monkeypatch.setenv("DOCKER_CONTEXT", "away")
    said = report(capsys)["address"]
    assert said["level"] == "problem"
    assert "away" in said["what"]
    assert "docker context" in said["remedy"]


# -- what an engine says


@pytest.mark.parametrize(
    ("info", "version", "url", "kind"),
    [
        ({}, {}, "", "Docker Engine"),
        ({"OperatingSystem": "Docker Desktop"}, {}, "", "Docker Desktop"),
        ({"Name": "colima"}, {}, "", "Colima"),
        ({}, {}, "unix:///Users/me/.colima/default/docker.sock", "Colima"),
        ({}, {"Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}, "", "Podman"),
    ],
)
def test_whose_engine_it_is(
    info: dict[str, Any], version: dict[str, Any], url: str, kind: str
) -> None:
    known = replace(KNOWN, info={**INFO, **info}, version={**VERSION, **version}, url=url)
    assert known.kind == kind
    assert engines.identity(known).what.startswith(f"{kind} 28.0.1")
    assert not known.rootless


def test_a_rootless_engine() -> None:
    info = {**INFO, "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}
    assert ", rootless at" in engines.identity(replace(KNOWN, info=info)).what
    said = engines.limits(replace(KNOWN, info={**info, "CgroupDriver": "none"}))
    assert "can't limit memory, swap, processes, CPUs" in said.what
    assert "delegation" in said.remedy


@pytest.mark.parametrize("number", ["19.03.8", "20.9", "1.13.1"])
def test_an_engine_that_is_older_than_what_is_tested(number: str) -> None:
    assert (
        engines.identity(replace(KNOWN, version={**VERSION, "Version": number})).level == "warning"
    )
    version = {"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}]}
    assert engines.identity(replace(KNOWN, version=version)).level == "ok"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"SwapLimit": False}, ("can't limit swap (cgroup v2", "add swapaccount=1")),
        ({"MemoryLimit": False, "SwapLimit": False}, ("memory, swap", "cgroup_enable=memory")),
        ({"PidsLimit": False}, ("processes", "command line")),
    ],
)
def test_limits_that_can_not_be_enforced(info: dict[str, Any], words: tuple[str, str]) -> None:
    said = engines.limits(replace(KNOWN, info={**INFO, **info}))
    assert said.level == "warning"
    assert words[0] in said.what
    assert words[1] in said.remedy
    # What an engine doesn't mention (Podman) is nothing to warn of.
    silent = {key: value for key, value in INFO.items() if key not in info}
    assert engines.limits(replace(KNOWN, info=silent)).level == "ok"


def test_an_engine_that_is_open_to_all() -> None:
    line = "WARNING: API is accessible on http://0.0.0.0:2375 without encryption."
    said = engines.exposed(replace(KNOWN, info={**INFO, "Warnings": ["WARNING: x", line]}))
    assert said.level == "warning"
    assert said.what.startswith("API is accessible on http://0.0.0.0:2375")


@pytest.mark.parametrize(
    ("time", "level", "words"),
    [
        ("2023-11-14T22:13:22.123456789Z", "ok", "same"),
        ("2023-11-15T00:13:20.5+02:00", "ok", "same"),
        ("2023-11-14T21:13:20Z", "warning", "3600 s behind"),
        ("2023-11-14T22:14:20Z", "warning", "60 s ahead"),
        ("0001-01-01T00:00:00Z", "warning", "behind"),
        ("soon", "skipped", "doesn't tell"),
    ],
)
def test_the_clocks(time: str, level: str, words: str) -> None:
    said = engines.clock(replace(KNOWN, info={**INFO, "SystemTime": time}))
    assert said.level == level
    assert words in said.what
    desktop = {**INFO, "SystemTime": time, "OperatingSystem": "Docker Desktop"}
    assert ("restart" in engines.clock(replace(KNOWN, info=desktop)).remedy) is (level == "warning")


@pytest.mark.parametrize(
    ("free", "level"), [(5e9, "ok"), (1e9, "warning"), (1e6, "problem"), (0, "problem")]
)
def test_room(free: float, level: str) -> None:
    said = engines.room(free, "/data", KNOWN)
    assert said.level == level
    assert ("docker-kernel prune" in said.remedy) is (level != "ok")


def test_the_disk_of_an_engine_in_a_machine_of_its_own_is_not_seen_from_here(place: Path) -> None:
    here = {**INFO, "DockerRootDir": str(place)}
    assert engines.disk(replace(KNOWN, info=here)).level != "skipped"
    assert engines.disk(replace(KNOWN, info=here, url="ssh://far")).level == "skipped"
    for more in ({"OperatingSystem": "Docker Desktop"}, {"DockerRootDir": f"{place}/no"}):
        assert engines.disk(replace(KNOWN, info={**here, **more})).level == "skipped"


def test_an_image_that_is_missing(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    said = report(capsys, "--image", "nowhere")["image"]
    assert said["level"] == "warning"
    assert said["remedy"] == "docker-kernel pull nowhere"
    found = report(capsys, "--image", "nowhere", "--pull", "never")
    assert found["image"]["level"] == "problem"
    assert "DOCKER_KERNEL_PULL=missing" in found["image"]["remedy"]
    assert found["start"]["level"] == "skipped"
    assert not [call for call in fake.asked if not call.startswith("GET ")]


# -- proxies


def test_a_proxy_here_and_none_in_the_engine(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128")
    words = ["--no-container", "--image", "box:1"]
    found = report(capsys, *words)
    assert found["proxy"]["level"] == "warning"
    assert "http://me:***@proxy.example:3128" in found["proxy"]["what"]
    assert "hunter2" not in json.dumps(found)
    assert "daemon/proxy" in found["proxy"]["remedy"]
    fake.info(HttpsProxy="http://proxy.example:3128")
    assert report(capsys, *words)["proxy"]["level"] == "ok"


def test_no_proxy_is_on_the_way_to_an_engine(
    free_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For real: the proxy isn't there, the engine is."""
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with fake_engine(None) as fake:
        monkeypatch.setenv("DOCKER_HOST", fake.url)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port}")
        assert report(capsys, "--no-container")["engine"]["level"] == "ok"


def test_a_proxy_that_the_container_does_not_have() -> None:
    environ = {"https_proxy": "http://proxy:1"}
    (said,) = inside.missing_proxy(SEEN, Settings(), environ)
    assert (said.id, said.level) == ("proxy", "warning")
    assert "HTTPS_PROXY" in said.remedy
    assert not list(inside.missing_proxy(replace(SEEN, proxies=True), Settings(), environ))
    assert not list(inside.missing_proxy(SEEN, Settings(network="none"), environ))


# -- this machine


def test_a_package_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ipykernel-6.29.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ipykernel\nVersion: 6.29\n")
    assert machine.versions().level == "ok"
    monkeypatch.syspath_prepend(tmp_path)
    said = machine.versions()
    assert said.level == "problem"
    assert "ipykernel is 6.29, and >=7 is needed" in said.what
    assert "pip install --upgrade" in said.remedy


def test_a_kernel_whose_python_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert main(["install", "--name", "lost", "--prefix", str(tmp_path / "p")]) == 0
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "p" / "share" / "jupyter"))
    assert machine.kernels().level == "ok"
    path = tmp_path / "p/share/jupyter/kernels/lost/kernel.json"
    spec = json.loads(path.read_text())
    spec["argv"][0] = str(tmp_path / "old-venv/bin/python")
    path.write_text(json.dumps(spec))
    said = machine.kernels()
    assert said.level == "problem"
    assert f"lost ({tmp_path}/old-venv/bin/python)" in said.what
    monkeypatch.setattr(machine, "find_specs", list)
    assert machine.kernels().remedy == "docker-kernel install"


@pytest.mark.usefixtures("fake")
def test_a_setting_that_can_not_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_KERNEL_MEMORY", "lots")
    found = report(capsys)
    assert found["settings"]["level"] == "problem"
    assert "DOCKER_KERNEL_MEMORY" in found["settings"]["remedy"]
    # The rest is looked at all the same, but for an image that nobody has asked for.
    assert found["engine"]["level"] == "ok"
    assert found["image"]["level"] == "skipped"


# -- servers


def test_local_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('this is no module of yours')")
    found = report(capsys, "--mode", "local")
    assert found["start"]["level"] == "warning"
    assert "THERE IS NO CONTAINER" in found["start"]["why"]
    assert found["encoding"]["level"] == "ok"
    assert found["python"]["what"].startswith(f"Python {sys.version.split()[0]} with IPython")


def test_a_server_that_asks_for_no_secret(
    server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = report(capsys, "--port", str(server.port))
    assert found["port"]["what"] == f"the server answers at localhost:{server.port}"
    assert found["authentication"]["level"] == "warning"
    assert "--secret-file" in found["authentication"]["remedy"]
    with Server(tmp_path, secret="a" * 64) as strict:
        found = report(capsys, "--port", str(strict.port))
        assert found["authentication"]["level"] == "problem"


@pytest.mark.parametrize(
    ("memory", "processes", "level"),
    [
        (str(2**30), "100", "ok"),
        ("max", "100", "warning"),
        ("9223372036854771712", "max", "warning"),
        ("", "100", "skipped"),
    ],
)
def test_limits_that_are_not_there_in_the_container(
    memory: str, processes: str, level: str
) -> None:
    seen = replace(SEEN, memory=memory, processes=processes)
    assert inside.enforced(seen, Settings(memory="1g", pids=100)).level == level


@pytest.mark.parametrize(
    "answer", ["", "{", "[]", "null", '{"stdout": 1}', '{"locale": [], "stdout": ""}', "1" * 9999]
)
def test_an_image_whose_python_prints_what_it_likes(answer: str) -> None:
    assert inside.read_probe(f"hello\ndocker-kernel-probe:{answer}\n") is None


# -- the same in a cell


def test_a_start_that_fails_is_told_with_its_cause(
    fake: FakeEngine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LITTLE_BYTES", 1e18)
    fake.info(DockerRootDir=str(place), HttpsProxy="")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    full = EngineRefused("creating the container failed", "no space left on device", "try")
    explain(full)
    assert full.why.startswith("no space left on device; only ")
    assert full.remedy.startswith("try; or see what can go: docker system df")
    away = ImageNotFound("it can't be pulled", "dial tcp: lookup registry: no such host", "check")
    explain(away)
    assert "none in the engine" in away.why
    assert "daemon/proxy" in away.remedy


def test_a_cell_is_told_too(fake: FakeEngine, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E11: by the sandbox, so for kernels, magics and tools alike."""
    monkeypatch.setattr(engines, "LITTLE_BYTES", 1e18)
    fake.info(DockerRootDir=str(place))
    body = b'{"message": "mkdir /data/x: no space left on device"}'
    head = b"HTTP/1.1 500 Error\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    fake.answers["POST /containers/create"] = head % len(body) + body
    sandbox = Sandbox(Settings(image="box:1", mount_workspace=False))
    with pytest.raises(EngineRefused, match=f"no space left on device; only .* in {place}") as told:
        sandbox.client()
    sandbox.stop()
    assert "docker system df" in told.value.remedy


@pytest.mark.parametrize(
    "error",
    [
        ImageNotFound("it can't be pulled", "manifest unknown", "check"),
        StartTimeout("the start took longer", "x", "y"),
        StartError("the server ended", "x", "y"),
    ],
)
@pytest.mark.usefixtures("fake")
def test_a_start_that_fails_for_another_reason_stays_as_it_is(error: DockerKernelError) -> None:
    before = str(error)
    explain(error)
    assert str(error) == before


def test_no_engine_is_asked_twice(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """The error says already all that is known."""
    with pytest.raises(DockerKernelError) as caught:
        Engine({"DOCKER_HOST": f"unix://{place}/none"}, Deadline(5))
    before = str(caught.value)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}/none")
    explain(caught.value)
    assert str(caught.value) == before
