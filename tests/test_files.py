"""Files between this side and a true server (M5): whole or not at all, on either side."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import peer
from docker_kernel import files
from docker_kernel.client import Client
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import ConnectionLost, RequestRefused, TransferError
from docker_kernel_server import messages as wire
from strategies import quick
from system import wait_until
from wire import Server

MEBIBYTE = wire.MAX_PIECE_BYTES


def connect(port: int) -> Client:
    return Client(Endpoint("127.0.0.1", port, None), Deadline(5))


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    connected = connect(server.port)
    yield connected
    connected.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- there and back


@quick
@given(st.binary(max_size=40), st.integers(1, 9))
def test_any_bytes_in_pieces(server: Server, data: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_PIECE_BYTES", piece)
        client = connect(server.port)
        files.put(client, data, "any")
        assert files.get(client, "any") == data
        client.close()


@pytest.mark.parametrize("size", [0, 1, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 3 * MEBIBYTE])
def test_files_with_progress(client: Client, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(data)
    told: list[tuple[int, int]] = []
    files.put(client, source, "deep/down/file", lambda *numbers: told.append(numbers))
    assert files.get(client, "deep/down/file", back, lambda *numbers: told.append(numbers)) is None
    assert back.read_bytes() == data
    steps = [min(at, size) for at in range(MEBIBYTE, size + MEBIBYTE, MEBIBYTE)] or [0]
    assert told == [(step, size) for step in steps] * 2
    assert names(tmp_path) == ["back", "source"]


def test_a_file_of_bytes_that_are_not_utf_8_in_its_name(client: Client, tmp_path: Path) -> None:
    path = f"{tmp_path}/\udcff"
    files.put(client, b"odd", path)
    assert [entry.name for entry in files.list(client, str(tmp_path))] == ["\udcff"]
    files.get(client, path, tmp_path / "back")
    files.remove(client, path)
    assert names(tmp_path) == ["back"]


def test_a_listing(client: Client, server: Server) -> None:
    files.put(client, b"12345", "listed/file")
    files.put(client, b"", "listed/folder/empty")
    file, folder = files.list(client, "listed")
    assert (file.name, file.kind, file.size) == ("file", "file", 5)
    assert (folder.name, folder.kind) == ("folder", "directory")
    assert file.mtime == (server.folder / "listed" / "file").stat().st_mtime


def test_a_listing_of_many_files(client: Client, server: Server) -> None:
    folder = server.folder / "many"
    folder.mkdir()
    expected = [f"{number:05}" for number in range(10_001)]
    for name in expected:
        (folder / name).touch()
    assert [entry.name for entry in files.list(client, "many")] == expected


def test_a_large_file_needs_little_memory_here(client: Client, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    block = os.urandom(MEBIBYTE)
    with source.open("wb") as large:
        for _ in range(200):
            large.write(block)
    sizes: list[int] = []

    def look(_done: int, _all: int) -> None:
        sizes.append(psutil.Process().memory_info().rss)

    files.put(client, source, str(tmp_path / "there"), look)
    files.get(client, str(tmp_path / "there"), back, look)
    assert back.stat().st_size == 200 * MEBIBYTE
    assert max(sizes) - sizes[0] < 60 * MEBIBYTE
    with back.open("rb") as file:
        assert all(file.read(MEBIBYTE) == block for _ in range(200))


# ---- what goes wrong


def test_the_server_s_words_are_passed_on(client: Client, tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match="'nowhere' can't be read: no such file"):
        files.get(client, "nowhere")
    with pytest.raises(RequestRefused, match="'nowhere' can't be listed"):
        files.list(client, "nowhere")
    with pytest.raises(RequestRefused, match="'nowhere' can't be removed"):
        files.remove(client, "nowhere")
    with pytest.raises(RequestRefused, match="can't be written: is a directory"):
        files.put(client, b"x", ".")
    with pytest.raises(RequestRefused, match="nowhere"):
        files.get(client, "nowhere", tmp_path / "back")
    assert names(tmp_path) == []


def test_local_files_that_can_t_be_had(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.put(client, tmp_path / "nowhere", "x")
    files.put(client, b"x", "x")
    with pytest.raises(IsADirectoryError):
        files.get(client, "x", tmp_path)
    with pytest.raises(FileNotFoundError):
        files.get(client, "x", tmp_path / "no" / "folder")


def test_a_local_file_keeps_its_permissions_and_a_link_is_not_followed(
    client: Client, tmp_path: Path
) -> None:
    """What the container's code lays into a shared folder leads to no other file of this side."""
    files.put(client, b"new", "new")
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to("file")
    files.get(client, "new", link)
    assert (link.read_bytes(), link.is_symlink(), file.read_bytes()) == (b"new", False, b"old")
    files.get(client, "new", file)
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_what_takes_the_place_of_a_file_that_comes_leads_nowhere(
    client: Client, tmp_path: Path
) -> None:
    """Code sees the file grow in a shared folder, and may lay a link in its place."""
    shared, key = tmp_path / "shared", tmp_path / "key"
    shared.mkdir()
    (shared / "file").write_bytes(b"old")
    (shared / "file").chmod(0o666)
    key.write_bytes(b"a key")
    key.chmod(0o600)
    files.put(client, b"new", "new")

    def swap(*_: int) -> None:
        (part,) = shared.glob(".docker-kernel-*.part")
        part.unlink()
        part.symlink_to(key)

    with pytest.raises(TransferError, match="something else"):
        files.get(client, "new", shared / "file", swap)
    assert (stat.S_IMODE(key.stat().st_mode), key.read_bytes()) == (0o600, b"a key")


class Cut:
    """A progress that ends the transfer after the first piece."""

    def __init__(self, how: BaseException, client: Client | None = None) -> None:
        self.how = how
        self.client = client
        self.told: list[int] = []

    def __call__(self, done: int, _all: int) -> None:
        self.told.append(done)
        if len(self.told) == 1:
            if self.client is None:
                raise self.how
            self.client.close()


def test_a_get_that_is_cut_off_goes_on(client: Client, server: Server, tmp_path: Path) -> None:
    data = os.urandom(3 * MEBIBYTE)
    back = tmp_path / "back"
    back.write_bytes(b"old")
    files.put(client, data, "large")
    with pytest.raises(ConnectionLost):
        files.get(client, "large", back, Cut(Exception(), client))
    assert back.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    again = connect(server.port)
    told: list[int] = []
    files.get(again, "large", back, lambda done, _all: told.append(done))
    again.close()
    assert back.read_bytes() == data
    assert told == [2 * MEBIBYTE, 3 * MEBIBYTE]
    assert names(tmp_path) == ["back"]


def test_what_was_kept_of_another_file_does_no_harm(
    client: Client, server: Server, tmp_path: Path
) -> None:
    back = tmp_path / "back"
    files.put(client, bytes(3 * MEBIBYTE), "large")
    with pytest.raises(ConnectionLost):
        files.get(client, "large", back, Cut(Exception(), client))
    (part,) = tmp_path.iterdir()
    data = os.urandom(2 * MEBIBYTE)
    again = connect(server.port)
    files.put(again, data, "large")
    files.get(again, "large", back)
    assert back.read_bytes() == data
    # Nor does a link that somebody lays there.
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    for lay in (part.symlink_to, part.hardlink_to):
        lay(victim)
        files.get(again, "large", back)
        assert back.read_bytes() == data
        assert victim.read_bytes() == b"mine"
    assert names(tmp_path) == ["back", "victim"]
    again.close()


def test_an_interrupted_get_leaves_nothing(client: Client, tmp_path: Path) -> None:
    files.put(client, bytes(2 * MEBIBYTE), "large")
    with pytest.raises(KeyboardInterrupt):
        files.get(client, "large", tmp_path / "back", Cut(KeyboardInterrupt()))
    assert names(tmp_path) == []
    assert files.get(client, "large") == bytes(2 * MEBIBYTE)


def test_a_put_that_is_cut_off_goes_on(client: Client, server: Server) -> None:
    data = os.urandom(3 * MEBIBYTE)
    files.put(client, b"old", "cut")
    with pytest.raises(ConnectionLost):
        files.put(client, data, "cut", Cut(Exception(), client))
    assert (server.folder / "cut").read_bytes() == b"old"
    again = connect(server.port)
    told: list[int] = []
    files.put(again, data, "cut", lambda done, _all: told.append(done))
    again.close()
    assert (server.folder / "cut").read_bytes() == data
    assert told == [MEBIBYTE, 2 * MEBIBYTE, 3 * MEBIBYTE]


def test_a_file_that_changes_while_it_is_read(client: Client, server: Server) -> None:
    """Once: the new one comes whole. Always: an error, and no mixture."""
    file = server.folder / "changing"
    file.write_bytes(b"a" * 2 * MEBIBYTE)
    changes = iter([b"b"])

    def change(_done: int, _all: int) -> None:
        for letter in changes:
            file.write_bytes(letter * 2 * MEBIBYTE)
            break

    assert files.get(client, "changing", progress=change) == b"b" * 2 * MEBIBYTE
    changes = iter([b"c", b"d", b"e", b"f", b"g", b"h"])
    with pytest.raises(TransferError, match="it changed while"):
        files.get(client, "changing", progress=change)


def test_a_local_file_that_changes_while_it_is_sent(
    client: Client, server: Server, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"a" * 2 * MEBIBYTE)

    def change(_done: int, _all: int) -> None:
        source.write_bytes(b"b" * 2 * MEBIBYTE)

    with pytest.raises(RequestRefused, match="SHA-256"):
        files.put(client, source, "sent", change)
    source.write_bytes(b"a" * 2 * MEBIBYTE)
    with pytest.raises(TransferError, match="goes no further"):
        files.put(client, source, "sent", lambda *_: os.truncate(source, 0))
    assert not (server.folder / "sent").exists()


def test_an_upload_that_is_gone_is_begun_again() -> None:
    """As after a restart of the server, or a pause that was too long."""
    answers = iter([(1, False), (0, False), (1, False), (2, False), (3, True)])
    asked: list[int] = []

    def answer(request: wire.Request, send: peer.Send) -> None:
        assert isinstance(request, wire.PutFile)
        asked.append(request.offset)
        written, done = next(answers)
        send(wire.Final(request.id, 0, result={"written": written, "done": done}))

    with peer.server(answer) as endpoint:
        client = Client(endpoint, Deadline(5))
        files.put(client, b"abc", "file")
        client.close()
    assert asked == [0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    "result",
    [
        {"data": "@", "size": 1, "mtime": 0, "eof": True},
        {"data": "", "size": 1, "mtime": 0, "eof": False},
        {"data": "", "size": -1, "mtime": 0, "eof": True},
        {"data": "", "size": "1", "mtime": 0, "eof": True},
        {"data": "YQ==", "size": 1, "mtime": 0, "eof": True, "sha256": "0" * 64},
        {"data": "YQ==", "size": 1, "mtime": 0, "eof": True},
        {"written": 0, "done": False},
        {"written": 100, "done": False},
        {"written": "1", "done": True},
        {"entries": [{"name": "a"}]},
        {"entries": 5},
        None,
        [],
    ],
)
def test_a_server_that_answers_nonsense(tmp_path: Path, result: object) -> None:
    """It ends, with an error of ours, and no file."""

    def answer(request: wire.Request, send: peer.Send) -> None:
        send(wire.Final(request.id, 0, result=result))

    with peer.server(answer) as endpoint:
        client = Client(endpoint, Deadline(5))
        for ask in (
            lambda: files.get(client, "file", tmp_path / "file"),
            lambda: files.put(client, b"abc", "file"),
            lambda: files.list(client, "file"),
        ):
            with pytest.raises(TransferError):
                ask()
        client.close()
    assert names(tmp_path) == []


def test_nothing_is_left_on_the_server(client: Client, server: Server) -> None:
    with pytest.raises(KeyboardInterrupt):
        files.put(client, bytes(2 * MEBIBYTE), "left/file", Cut(KeyboardInterrupt()))
    (part,) = names(server.folder / "left")
    assert part.startswith(".docker-kernel-")
    files.put(client, bytes(2 * MEBIBYTE), "left/file")
    assert wait_until(lambda: names(server.folder / "left") == ["file"], 5)
