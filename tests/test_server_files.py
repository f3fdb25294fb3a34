"""Files on the wire (M5): pieces, digests, odd names, what must not be touched, bounds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import resource
import socket
import stat
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_kernel_server import files
from docker_kernel_server.errors import RequestRefused
from docker_kernel_server.messages import MAX_PIECE_BYTES, ListFiles, PutFile
from strategies import pieces, quick
from system import wait_until
from wire import Answer, Json, Server, Wire

NOBODY = 65534


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def piece(path: object, whole: bytes, offset: int = 0, part: bytes | None = None) -> Json:
    """The keys of a put_file."""
    text = base64.b64encode(whole if part is None else part).decode()
    return {
        "path": str(path),
        "data": text,
        "offset": offset,
        "size": len(whole),
        "sha256": digest(whole),
    }


def put(client: Wire, path: object, whole: bytes, offset: int = 0, part: Any = None) -> Answer:
    return client.ask("put_file", **piece(path, whole, offset, part))


def get(client: Wire, path: object, **keys: Any) -> Json:
    answer = client.ask("get_file", path=str(path), **keys)
    assert answer.ending == (0, "ok"), answer
    return dict(answer.result)


def refusal(answer: Answer) -> str:
    """What the server says to a request that it can't serve; it lives, and so does the client."""
    assert answer.reason == "refused"
    assert answer.result
    return str(answer.result)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- there and back


@quick
@given(st.data(), st.binary(max_size=300))
def test_pieces_of_any_size_make_the_file(
    server: Server, data: st.DataObject, whole: bytes
) -> None:
    """Also where a piece comes twice, or one that isn't its turn."""
    folder = server.folder / uuid.uuid4().hex
    file = folder / "pieces"
    with server.connect() as client:
        written, done = 0, False
        for part in [*data.draw(pieces(whole)), whole]:
            early = data.draw(st.integers(0, written))
            answer = put(client, file, whole, early, whole[early : written + len(part)])
            written = min(written + len(part), len(whole))
            done = written == len(whole)
            assert answer.result == {"written": written, "done": done}
            if done:
                break
            assert not file.exists()
            late = put(client, file, whole, len(whole), b"")
            assert late.result == {"written": written, "done": False}
        assert done
        assert file.read_bytes() == whole
        assert names(folder) == ["pieces"]
        length = data.draw(st.integers(1, 100))
        back = b""
        while True:
            got = get(client, file, offset=len(back), length=length)
            back += base64.b64decode(got["data"])
            assert got["size"] == len(whole)
            if got["eof"]:
                break
            assert "sha256" not in got
        assert back == whole
        assert got["sha256"] == digest(whole)
        assert client.ask("remove_file", path=str(file)).ending == (0, "ok")


def test_a_relative_path_starts_at_the_work_folder(client: Wire, server: Server) -> None:
    assert put(client, "deep/er/file", b"x").result == {"written": 1, "done": True}
    assert (server.folder / "deep" / "er" / "file").read_bytes() == b"x"
    assert base64.b64decode(get(client, "deep/er/file")["data"]) == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "é ß 日本",
        "-rf",
        "a'b\"c",
        "a\nb",
        "tab\t\\",
        "\udcff\udc80",
        "~",
        "$HOME",
        ".hidden",
        "x" * 255,
    ],
)
def test_odd_names(client: Wire, tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    assert put(client, path, b"odd").status == 0
    assert names(tmp_path) == [name]
    assert base64.b64decode(get(client, path)["data"]) == b"odd"
    (entry,) = client.ask("list_files", path=str(tmp_path)).result["entries"]
    assert (entry["name"], entry["kind"], entry["size"]) == (name, "file", 3)
    assert client.ask("remove_file", path=path).ending == (0, "ok")
    assert names(tmp_path) == []


def test_a_folder_s_entries(client: Wire, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "c").write_bytes(b"12345")
    (tmp_path / "a").symlink_to("c")
    (tmp_path / "d").symlink_to("nowhere")
    os.mkfifo(tmp_path / "e")
    answer = client.ask("list_files", path=str(tmp_path)).result
    found = [(entry["name"], entry["kind"], entry["size"]) for entry in answer["entries"]]
    folder = (tmp_path / "b").stat().st_size
    assert found == [
        ("a", "file", 5),
        ("b", "directory", folder),
        ("c", "file", 5),
        ("d", "other", 0),
        ("e", "other", 0),
    ]
    assert answer["more"] is False
    assert answer["entries"][2]["mtime"] == (tmp_path / "c").stat().st_mtime
    rest = client.ask("list_files", path=str(tmp_path), after="c").result["entries"]
    assert [entry["name"] for entry in rest] == ["d", "e"]


def test_a_large_folder_comes_in_parts(tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / f"{number:02}").touch()

    async def ask(after: str) -> Json:
        return await files.Files("/").serve(ListFiles("1", str(tmp_path), after))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "MAX_ENTRIES", 10)
        found: list[str] = []
        more = True
        while more:
            answer = asyncio.run(ask(found[-1] if found else ""))
            found += [entry["name"] for entry in answer["entries"]]
            more = answer["more"]
    assert found == names(tmp_path)


def test_a_file_that_has_no_size_is_read_whole(client: Wire) -> None:
    """/proc says that its files are empty."""
    got = get(client, "/proc/self/status")
    assert got["eof"]
    assert b"VmRSS" in base64.b64decode(got["data"])


# ---- the old file stays until the new one is there


def test_a_put_that_is_cut_off_leaves_the_old_file(server: Server, tmp_path: Path) -> None:
    """And goes on where it was."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with server.connect() as client:
        assert put(client, file, b"new text", 0, b"new").result == {"written": 3, "done": False}
        client.abort()
    assert file.read_bytes() == b"old"
    with server.connect() as client:
        assert put(client, file, b"new text", 0, b"n").result == {"written": 3, "done": False}
        assert put(client, file, b"new text", 3, b" text").result == {"written": 8, "done": True}
    assert file.read_bytes() == b"new text"
    assert names(tmp_path) == ["file"]


def test_what_is_not_complete_goes_with_the_server(tmp_path: Path) -> None:
    with Server(tmp_path) as server, server.connect() as client:
        assert not put(client, "file", b"new", 0, b"n").result["done"]
        assert len(names(tmp_path)) == 1
        server.stop()
    assert names(tmp_path) == []


def test_what_is_not_complete_is_dropped_after_a_time(tmp_path: Path) -> None:
    async def run() -> Json:
        served = files.Files(str(tmp_path))
        keys = piece("file", b"new", 0, b"n")
        await served.serve(PutFile("1", **keys))
        assert len(names(tmp_path)) == 1
        assert await asyncio.to_thread(wait_until, lambda: not names(tmp_path), 5)
        return await served.serve(PutFile("2", **{**keys, "offset": 1}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "UPLOAD_IDLE_SECONDS", 0.05)
        assert asyncio.run(run()) == {"written": 0, "done": False}


def test_a_wrong_digest_is_refused(client: Wire, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    answer = client.ask("put_file", **{**piece(file, b"new"), "sha256": digest(b"other")})
    assert "SHA-256" in refusal(answer)
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_two_clients_send_the_same_file(server: Server, tmp_path: Path) -> None:
    """Each is told where to go on, and the file is right whoever ends it."""
    file, whole = tmp_path / "file", bytes(range(256)) * 8
    with server.connect() as one, server.connect() as two:
        written = {one: 0, two: 0}
        done: set[Wire] = set()
        while len(done) < 2:
            begun = [
                (client, client.begin("put_file", **piece(file, whole, at, whole[at : at + 100])))
                for client, at in written.items()
                if client not in done
            ]
            for client, name in begun:
                result = client.finish(name).result
                written[client] = result["written"]
                if result["done"]:
                    done.add(client)
    assert file.read_bytes() == whole
    assert names(tmp_path) == ["file"]


def test_a_file_that_is_replaced_keeps_its_permissions(client: Wire, tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    os.chown(file, NOBODY, NOBODY)
    link.symlink_to("file")
    assert put(client, link, b"new").status == 0
    state = file.stat()
    assert (file.read_bytes(), link.is_symlink()) == (b"new", True)
    assert (stat.S_IMODE(state.st_mode), state.st_uid) == (0o640, NOBODY)
    fresh = tmp_path / "fresh"
    assert put(client, fresh, b"new").status == 0
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o666 & ~umask


# ---- what can't be done


@pytest.mark.parametrize(
    ("kind", "keys", "says"),
    [
        ("get_file", {"path": "nowhere"}, "'nowhere' can't be read: no such file"),
        ("get_file", {"path": "."}, "is a directory"),
        ("get_file", {"path": "fifo"}, "not a regular file"),
        ("get_file", {"path": "/dev/zero"}, "not a regular file"),
        ("get_file", {"path": "a\0b"}, "is no path"),
        ("get_file", {"path": "\ud800"}, "is no path"),
        ("get_file", {"path": "file", "offset": -1}, "'offset' must be 0"),
        ("get_file", {"path": "file", "offset": 2**63}, "'offset' must be 0"),
        ("get_file", {"path": "file", "length": 0}, "'length' must be 1"),
        ("get_file", {"path": "file", "length": MAX_PIECE_BYTES + 1}, "'length' must be 1"),
        ("list_files", {"path": "nowhere"}, "'nowhere' can't be listed: no such file"),
        ("list_files", {"path": "file"}, "not a directory"),
        ("remove_file", {"path": "nowhere"}, "'nowhere' can't be removed: no such file"),
        ("remove_file", {"path": "folder"}, "is a directory"),
        ("put_file", piece("folder", b"x"), "is a directory"),
        ("put_file", piece("new/", b"x"), "is a directory"),
        ("put_file", piece("", b"x"), "is a directory"),
        ("put_file", piece("fifo", b"x"), "not a regular file"),
        ("put_file", piece("file/below", b"x"), "directory"),
        ("put_file", piece("/proc/none", b"x"), "can't be written"),
        ("put_file", piece("x" * 256, b"x"), "too long"),
        ("put_file", {**piece("p", b"x"), "data": "@"}, "not base64"),
        ("put_file", {**piece("p", b"x"), "sha256": "ab"}, "64 hex digits"),
        ("put_file", {**piece("p", b"x"), "size": -1}, "'size' must be 0"),
        ("put_file", {**piece("p", b"x"), "offset": 2}, "'offset' must be 0 to 1"),
        ("put_file", {**piece("p", b"x"), "size": 0}, "past the 'size'"),
        ("put_file", piece("p", bytes(MAX_PIECE_BYTES + 1)), f"more than {MAX_PIECE_BYTES}"),
    ],
)
def test_what_can_t_be_done_is_refused(
    server: Server, client: Wire, kind: str, keys: Json, says: str
) -> None:
    (server.folder / "folder").mkdir(exist_ok=True)
    (server.folder / "file").write_bytes(b"mine")
    if not (server.folder / "fifo").exists():
        os.mkfifo(server.folder / "fifo")
    before = names(server.folder)
    assert says in refusal(client.ask(kind, **keys)).lower().replace("sha-256", "SHA-256")
    assert names(server.folder) == before
    assert (server.folder / "file").read_bytes() == b"mine"


def test_permissions_are_respected(tmp_path: Path) -> None:
    """A server without root's rights; where the tests have none either, they are the same."""
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir(mode=0o555)
    file.write_bytes(b"mine")
    file.chmod(0o444)
    tmp_path.chmod(0o777)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o711)

    async def run() -> list[str]:
        served, said = files.Files(str(tmp_path)), []
        for path in ("folder/new", "file"):
            with pytest.raises(RequestRefused) as caught:
                await served.serve(PutFile("1", **piece(path, b"x", 0)))
            said.append(str(caught.value))
        return said

    rights = (os.geteuid(), os.getegid())
    if rights[0] == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        said = asyncio.run(run())
    finally:
        if rights[0] == 0:
            os.seteuid(rights[0])
            os.setegid(rights[1])
    assert all("permission denied" in text and "/tmp" in text for text in said)
    assert names(tmp_path) == ["file", "folder"]
    assert file.read_bytes() == b"mine"


def test_where_there_is_no_room_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with Server(tmp_path) as server, server.connect() as client:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        assert "file too large" in refusal(put(client, "file", bytes(1001)))
        assert put(client, "other", bytes(1000)).status == 0
    assert names(tmp_path) == ["file", "other"]
    assert (tmp_path / "file").read_bytes() == b"old"


# ---- bounds


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_a_large_file_needs_little_memory(server: Server, client: Wire, tmp_path: Path) -> None:
    """200 MB there and back, in a server that grows by far less."""
    file, block = tmp_path / "large", os.urandom(MAX_PIECE_BYTES)
    count = 200
    whole = hashlib.sha256()
    for _ in range(count):
        whole.update(block)
    keys = {"path": str(file), "size": count * len(block), "sha256": whole.hexdigest()}
    text = base64.b64encode(block).decode()
    before = psutil.Process(server.process.pid).memory_info().rss
    for number in range(count):
        answer = client.ask("put_file", data=text, offset=number * len(block), **keys)
    assert answer.result == {"written": keys["size"], "done": True}
    # As many at once as may wait, from a client that reads none of them for a while.
    got = [
        client.begin("get_file", path=str(file), offset=number * len(block)) for number in range(60)
    ]
    back = [client.finish(name).result for name in got]
    assert all(base64.b64decode(one["data"]) == block for one in back)
    last = get(client, file, offset=(count - 1) * len(block))
    assert last["sha256"] == keys["sha256"]
    grown = peak(server.process.pid) - before
    assert grown < 60 * 1024 * 1024, grown


def test_too_many_requests_for_files_are_refused(server: Server, tmp_path: Path) -> None:
    """P9: a client that doesn't read makes nobody else wait, and the server hold little."""
    file = tmp_path / "file"
    file.write_bytes(bytes(MAX_PIECE_BYTES))
    with server.connect() as client, server.connect() as other:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        asked = [client.begin("get_file", path=str(file)) for _ in range(200)]
        assert get(other, file)["eof"]
        assert other.ask("status").status == 0
        answers = [client.finish(name) for name in asked]
    refused = [answer for answer in answers if answer.reason == "refused"]
    assert refused
    assert "wait already" in refusal(refused[0])
    assert len(answers) - len(refused) >= 64


def test_too_many_uploads_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        served = files.Files(str(tmp_path))
        for number in range(files.MAX_UPLOADS):
            await served.serve(PutFile("1", **piece(str(number), b"xy", 0, b"x")))
        with pytest.raises(RequestRefused, match="on their way already"):
            await served.serve(PutFile("1", **piece("more", b"xy", 0, b"x")))
        await served.serve(PutFile("1", **piece("0", b"xy", 1, b"y")))
        await served.serve(PutFile("1", **piece("more", b"xy", 0)))
        await served.close()

    asyncio.run(run())
    assert wait_until(lambda: names(tmp_path) == ["0", "more"], 5)
