"""What is lent: which files, that the same contents give the same digest, and the filling."""

from __future__ import annotations

import importlib.metadata
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from docker_kernel import runtime
from docker_kernel.errors import StartError

FILL = [sys.executable, "-I", "-S"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(runtime, "cache_folder", lambda: folder)
    return folder


def part(name: str) -> runtime.Part:
    return next(item for item in runtime.parts() if item.name == name)


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def unpack(archive: bytes, folder: Path) -> Path:
    path = folder / "contents.tar"
    path.write_bytes(archive)
    return path


def test_packages_are_ipython_and_what_it_needs_as_pure_python() -> None:
    found = names(part(runtime.PACKAGES).archive())
    for module in ("IPython/__init__.py", "comm/__init__.py", "jedi/api/__init__.py"):
        assert module in found
    # Needed on Linux alone, and by Python 3.11: the host may have neither for its own sake.
    assert {"pexpect/__init__.py", "typing_extensions.py"} <= set(found)
    assert not [name for name in found if name.startswith(("psutil", "ipykernel", "zmq", "docker"))]
    assert not [name for name in found if name.endswith((".so", ".pyc", ".pyd")) or ".." in name]
    # Versions and entry points are looked up in these, by pygments for one.
    assert [name for name in found if name.endswith(".dist-info/METADATA")]
    assert len(found) == len(set(found))


def test_server_has_all_its_modules_and_says_what_the_packages_need() -> None:
    archive = part(runtime.SERVER).archive()
    found = names(archive)
    for name in ("tcp_server.py", "docker_kernel_server/__init__.py", "lib.json", "lib"):
        assert name in found
    for path in Path("container/docker_kernel_server").rglob("*.py"):
        assert path.relative_to("container").as_posix() in found
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile("lib.json")
        assert file is not None
        description = json.load(file)
    ipython = importlib.metadata.distribution("ipython")
    assert description["requires_python"] == ipython.metadata["Requires-Python"]
    assert description["packages"]["ipython"] == ipython.version


def test_same_contents_same_digest_with_and_without_the_cache(cache: Path) -> None:
    first = runtime.parts()
    assert runtime.parts() == first
    shutil.rmtree(cache)
    assert runtime.parts() == first
    assert first[0].archive() == first[0].archive()


@pytest.mark.parametrize("contents", ["", "[]", '{"format": 0}', "{", '{"format": 1}'])
def test_a_broken_cache_is_as_good_as_none(cache: Path, contents: str) -> None:
    right = runtime.parts()
    (cache / "runtime.json").write_text(contents)
    assert runtime.parts() == right


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path / "file" / "below")
    assert runtime.parts() == runtime.parts()


def test_a_changed_installation_is_looked_at_again(cache: Path) -> None:
    runtime.parts()
    file = cache / "runtime.json"
    known = json.loads(file.read_text())
    assert any(path.endswith("RECORD") for path, _ in known["stamps"])
    known["digest"] = "believed"
    file.write_text(json.dumps(known))
    assert part(runtime.PACKAGES).digest == "believed"
    known["stamps"][0][1][0] += 1
    file.write_text(json.dumps(known))
    assert part(runtime.PACKAGES).digest != "believed"


def test_a_changed_server_gets_another_volume_and_the_packages_keep_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "container"
    shutil.copytree("container", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(runtime, "server_package", lambda: copy / "docker_kernel_server")
    before = runtime.parts()
    assert runtime.parts() == before
    with (copy / "docker_kernel_server" / "limits.py").open("a") as file:
        file.write("# changed\n")
    after = runtime.parts()
    assert after[0].digest != before[0].digest
    assert after[1] == before[1]
    # In a wheel the program lies inside the package; in the volume it lies where it always does.
    (copy / "tcp_server.py").rename(copy / "docker_kernel_server" / "tcp_server.py")
    assert runtime.parts() == after
    (copy / "docker_kernel_server" / "tcp_server.py").unlink()
    with pytest.raises(StartError, match="install docker-kernel again"):
        runtime.parts()


def test_volume_names_tell_images_and_pythons_apart() -> None:
    packages = part(runtime.PACKAGES)
    found = {
        packages.volume_name("sha256:1", "cpython-311", "3.11.2"),
        packages.volume_name("sha256:2", "cpython-311", "3.11.2"),
        packages.volume_name("sha256:1", "cpython-311", "3.11.3"),
        packages.volume_name("sha256:1", "cpython-312", "3.12.0"),
        part(runtime.SERVER).volume_name("sha256:1", "cpython-311", "3.11.2"),
    }
    assert len(found) == 5
    assert all(name.startswith("docker-kernel-runtime-") for name in found)


def test_once_known_the_packages_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = runtime.parts()

    def read() -> None:
        raise AssertionError("the packages were read again")

    monkeypatch.setattr(runtime, "_closure", read)
    assert runtime.parts() == known


# -- filling, by the very program that runs in the container


def fill(volume: Path, archive: Path) -> int:
    script = Path(runtime.__file__).parent.parent / "container/docker_kernel_server/fill.py"
    return subprocess.run([*FILL, script, volume, archive], check=False).returncode


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small archive, with a module for each case."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        runtime.add_to_tar(tar, "lib/good.py", b"answer = 42\n")
        runtime.add_to_tar(tar, "lib/of_the_future.py", b"this is no Python (yet)\n")
    return unpack(buffer.getvalue(), tmp_path)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


def test_fill_unpacks_compiles_and_marks(volume: Path, archive: Path, each_python: str) -> None:
    script = Path("container/docker_kernel_server/fill.py").resolve()
    command = [each_python, "-I", "-S", str(script), str(volume), str(archive)]
    assert subprocess.run(command, check=False).returncode == 0
    assert (volume / ".complete").is_file()
    assert (volume / "lib/good.py").read_text() == "answer = 42\n"
    compiled = list((volume / "lib/__pycache__").glob("good.*.pyc"))
    # Bytes 4 to 8 are flags: 1 is by hash, and not to be checked.
    assert compiled[0].read_bytes()[4:8] == b"\1\0\0\0"
    assert subprocess.run(command, check=False).returncode == 3


def test_fill_puts_certificates_beside_those_of_the_image(
    volume: Path, tmp_path: Path, each_python: str
) -> None:
    """Whatever stands in the variable, or the first bundle that there is; the extra ones last."""
    contents = unpack(runtime.authorities(b"extra\n").archive(), tmp_path)
    (tmp_path / "own.pem").write_text("-----BEGIN own\n")
    script = Path("container/docker_kernel_server/fill.py").resolve()
    command = [each_python, "-I", "-S", str(script), str(volume), str(contents)]
    env = {"SSL_CERT_FILE": str(tmp_path / "own.pem")}
    assert subprocess.run(command, env=env, check=False).returncode == 0
    assert (volume / "bundle.pem").read_text() == "-----BEGIN own\n\nextra\n"
    assert (volume / "extra.pem").read_text() == "extra\n"


def test_fill_begins_anew_where_one_was_cut_short(volume: Path, archive: Path) -> None:
    (volume / "lib").mkdir()
    (volume / "lib/half.py").write_text("hal")
    (volume / "stray").symlink_to("/")
    assert fill(volume, archive) == 0
    assert sorted(path.name for path in volume.iterdir()) == [".complete", ".lock", "lib"]
    assert not (volume / "lib/half.py").exists()


def test_fills_at_the_same_time_wait_for_one_another(volume: Path, archive: Path) -> None:
    script = "container/docker_kernel_server/fill.py"
    running = [subprocess.Popen([*FILL, script, volume, archive]) for _ in range(6)]
    assert sorted(process.wait() for process in running) == [0, 3, 3, 3, 3, 3]
    assert (volume / "lib/good.py").is_file()


def test_fill_leaves_no_mark_where_it_fails(volume: Path, tmp_path: Path) -> None:
    assert fill(volume, unpack(b"no tar at all", tmp_path)) == 1
    assert not (volume / ".complete").exists()
