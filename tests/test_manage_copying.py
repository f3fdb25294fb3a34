"""%docker put and get where the server doesn't see the workspace folder: that folder alone, and
nothing that the container would not get if it were mounted there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_kernel.config import Settings
from docker_kernel.errors import UsageError
from docker_kernel.manage import copying
from docker_kernel.manage.copying import get, put
from docker_kernel.sandbox import Sandbox
from wire import Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace folder, with a secret beside it."""
    (tmp_path / "secret").write_text("secret")
    made = tmp_path / "work"
    made.mkdir()
    (made / "data.txt").write_text("data")
    (made / "sub").mkdir()
    if os.name == "posix" and os.getuid() == 0:  # whose container is an ordinary user's
        for path in (made, *made.iterdir()):
            os.chown(path, 1000, 1000)
    return made


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running.port


@pytest.fixture
def sandbox(port: int, folder: Path) -> Iterator[Sandbox]:
    made = Sandbox(Settings(mode="attached", host="localhost", port=port, workspace=str(folder)))
    yield made
    made.stop()


def show(_text: str) -> None:
    """Nobody looks."""


def test_out_and_back(sandbox: Sandbox, folder: Path) -> None:
    assert put(sandbox, "data.txt", None, show) == "data.txt is data.txt in the container."
    get(sandbox, "data.txt", "sub/again.txt", show)
    assert (folder / "sub" / "again.txt").read_text() == "data"
    put(sandbox, str(folder / "sub" / "again.txt"), "deep/in/there", show)
    get(sandbox, "deep/in/there", None, show)
    assert (folder / "there").read_text() == "data"
    assert not list(folder.rglob(".docker-kernel*"))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/../../secret", ".", ""])
def test_nothing_outside_the_folder(sandbox: Sandbox, folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="isn't in the workspace folder"):
        put(sandbox, name, "x", show)
    with pytest.raises(UsageError, match="isn't in the workspace folder"):
        get(sandbox, "data.txt", name or ".", show)
    assert (folder.parent / "secret").read_text() == "secret"


def test_through_no_link(sandbox: Sandbox, folder: Path) -> None:
    """Nor through one that leads to the folder again: what a link is changes while one looks."""
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "up").symlink_to(folder.parent)
    (folder / "same").symlink_to(folder / "sub")
    with pytest.raises(UsageError, match="it is a link"):
        put(sandbox, "link", "x", show)
    for name in ("up/secret", "same/x"):
        with pytest.raises(UsageError, match="reached by a link"):
            put(sandbox, name, "x", show)
        with pytest.raises(UsageError, match="reached by a link"):
            get(sandbox, "x", name, show)
    # A link in the place of what is written gives way.
    put(sandbox, "data.txt", "x", show)
    get(sandbox, "x", "link", show)
    assert not (folder / "link").is_symlink()
    assert (folder.parent / "secret").read_text() == "secret"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name here")
def test_what_is_no_file(sandbox: Sandbox, folder: Path) -> None:
    """It doesn't wait for who writes into a pipe."""
    os.mkfifo(folder / "pipe")
    for name in ("pipe", "sub"):
        with pytest.raises(UsageError, match="it is no file"):
            put(sandbox, name, "x", show)
    with pytest.raises(FileNotFoundError):
        put(sandbox, "none", "x", show)


@pytest.mark.skipif(sys.platform != "linux", reason="goes by the files' owners")
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="takes root")
def test_root_lends_its_rights_to_nobody(sandbox: Sandbox, folder: Path) -> None:
    """The kernel of root has a container of the folder's owner, which sees as much as that one."""
    os.chown(folder / "data.txt", 0, 0)
    os.chown(folder / "sub", 0, 0)
    (folder / "data.txt").chmod(0o600)
    with pytest.raises(UsageError, match="may not read it"):
        put(sandbox, "data.txt", "x", show)
    (folder / "data.txt").chmod(0o644)
    put(sandbox, "data.txt", "x", show)
    with pytest.raises(UsageError, match="may not write there"):
        get(sandbox, "x", "sub/x", show)
    (folder / "sub" / "open").mkdir()
    (folder / "sub" / "open" / "x").write_text("not for all")
    (folder / "sub" / "open").chmod(0o777)
    (folder / "sub").chmod(0o700)
    with pytest.raises(UsageError, match="may not enter sub"):
        put(sandbox, "sub/open/x", "y", show)
    with pytest.raises(UsageError, match="may not enter sub"):
        get(sandbox, "x", "sub/open/y", show)


def test_nothing_of_what_this_kernel_imports_is_written(
    sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell could run code on this machine by it, at the next start."""
    monkeypatch.setattr(copying, "own_places", lambda: [folder / "sub"])
    put(sandbox, "data.txt", "x", show)
    for name in ("sub/evil.pth", "sub"):
        with pytest.raises(UsageError, match="part of the Python"):
            get(sandbox, "x", name, show)
    assert not list((folder / "sub").iterdir())


def test_the_audit_log_is_not_written(port: int, folder: Path) -> None:
    log = folder / "audit.log"
    where = {"mode": "attached", "host": "localhost", "port": port, "workspace": str(folder)}
    sandbox = Sandbox(Settings(audit_log=str(log), **where))
    put(sandbox, "data.txt", "x", show)
    with pytest.raises(UsageError, match="it is the audit log"):
        get(sandbox, "x", "audit.log", show)
    sandbox.stop()
    assert '"event": "sent"' in log.read_text()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mount_workspace": False}, "the setting mount_workspace says so"),
        ({"workspace": "/"}, "it is the whole file system"),
    ],
)
def test_a_folder_that_is_not_to_be_seen(
    port: int, folder: Path, settings: dict[str, object], words: str
) -> None:
    chosen = {"workspace": str(folder), **settings}
    sandbox = Sandbox(Settings(mode="attached", host="localhost", port=port, **chosen))
    name = "etc/passwd" if settings.get("workspace") == "/" else "data.txt"
    with pytest.raises(UsageError, match=words):
        put(sandbox, name, "x", show)
    with pytest.raises(UsageError, match=words):
        get(sandbox, "x", name, show)
    sandbox.stop()
