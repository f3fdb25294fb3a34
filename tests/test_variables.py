"""Variables between this side and a true session (M4): IPython's, and the plain shell's."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import peer
from alike import check_alike
from docker_kernel import variables
from docker_kernel.client import Client
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import RequestRefused, TransferError
from docker_kernel_server import messages as wire
from docker_kernel_server import values
from system import wait_until
from wire import Server


@pytest.fixture(scope="module", params=["ipython", "plain"])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pythons: dict[str, str],
) -> Iterator[Server]:
    if request.param == "plain" and "3.8" not in pythons:
        pytest.skip("there is no Python 3.8 on this machine")
    python = sys.executable if request.param == "ipython" else pythons["3.8"]
    temp = tmp_path_factory.mktemp("temp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temp))
        with Server(tmp_path_factory.mktemp("work"), python=python) as running:
            yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    connected = Client(Endpoint("127.0.0.1", server.port, None), Deadline(5))
    connected.ask(wire.OpenSession("open", "main"))
    yield connected
    connected.ask(wire.CloseSession("close", "main"))
    connected.close()


class Left:
    """The files in the container's folder for what nobody keeps."""

    def __init__(self, client: Client) -> None:
        self.folder = Path(client.ask(wire.Status("status"))["temp"])

    def none(self) -> bool:
        return wait_until(lambda: not list(self.folder.glob("docker-kernel-*")), 5)


@pytest.fixture
def left(client: Client) -> Left:
    return Left(client)


def run(client: Client, code: str) -> str:
    """Run a cell; what it printed."""
    printed: list[str] = []

    def take(event: wire.Event) -> None:
        if isinstance(event, wire.Chunk):
            printed.append(event.data)

    final = client.request(wire.Execute(client.new_id(), "main", code), take).result(60)
    assert final.reason == "ok", final
    return "".join(printed)


PLAIN: dict[str, Any] = {
    "a": [1, 2.5, None, "é", b"bytes"],
    "b": {"k": (1, {2}), 3: "x"},
    "c": 10**30,
    "d": "\ud800",
}


def test_there_and_back(client: Client, left: Left) -> None:
    variables.push(client, "main", PLAIN)
    assert run(client, "print(a, b['k'], c, len(d))") == (
        "[1, 2.5, None, 'é', b'bytes'] (1, {2}) 1000000000000000000000000000000 1\n"
    )
    back = variables.pull(client, "main", ["d", "b", "a", "c", "a"])
    assert list(back) == ["d", "b", "a", "c"]
    check_alike({name: back[name] for name in PLAIN}, PLAIN)
    assert left.none()


def test_what_is_pulled_is_a_copy(client: Client) -> None:
    variables.push(client, "main", PLAIN)
    variables.pull(client, "main", ["a"])["a"].append(5)
    run(client, "b.clear()")
    assert len(variables.pull(client, "main", ["a"])["a"]) == 5
    assert PLAIN["b"]


def test_a_large_value(client: Client, left: Left) -> None:
    """More than a line may have."""
    data = os.urandom(70_000_000)
    variables.push(client, "main", {"data": data})
    assert run(client, "import hashlib; data = data[::-1]; print(len(data))") == "70000000\n"
    assert variables.pull(client, "main", ["data"])["data"] == data[::-1]
    assert left.none()


def test_after_a_cell_that_runs(client: Client) -> None:
    """In the order in which it was asked for."""
    cell = client.request(
        wire.Execute(client.new_id(), "main", "import time; time.sleep(0.3); z = 1")
    )
    assert variables.pull(client, "main", ["z"]) == {"z": 1}
    assert cell.result(60).reason == "ok"


# ---- what can't be


def test_what_can_t_be_sent_is_named(client: Client, left: Left) -> None:
    with pytest.raises(TransferError) as caught:
        variables.push(client, "main", {"good": 1, "bad": {"k": [io.StringIO()]}})
    assert "bad['k'][0] can't be moved: StringIO is not among the types" in str(caught.value)
    assert caught.value.remedy
    with pytest.raises(TransferError, match="'a b' is no name of a variable"):
        variables.push(client, "main", {"a b": 1})
    with pytest.raises(RequestRefused, match="not defined: good"):
        variables.pull(client, "main", ["good"])
    assert left.none()


def test_what_can_t_be_fetched_is_named(client: Client, left: Left) -> None:
    run(client, "import sys; class_ = type('C', (dict,), {}); sub = [class_()]; fine = 1")
    with pytest.raises(RequestRefused, match=r"not defined: nope, print$"):
        variables.pull(client, "main", ["fine", "nope", "print"])
    with pytest.raises(RequestRefused, match="sys can't be moved: module is not among"):
        variables.pull(client, "main", ["fine", "sys"])
    with pytest.raises(RequestRefused, match=r"sub\[0\] can't be moved: C is a subclass of dict"):
        variables.pull(client, "main", ["sub"])
    with pytest.raises(RequestRefused, match="there is no session 'other'"):
        variables.pull(client, "other", ["fine"])
    with pytest.raises(RequestRefused, match="there is no session 'other'"):
        variables.push(client, "other", {"a": 1})
    assert variables.pull(client, "main", ["fine"]) == {"fine": 1}
    assert left.none()


def test_a_push_that_can_t_be_read_is_refused_and_removed(client: Client, left: Left) -> None:
    for name, data, says in (
        ("bad", b"x" * 50, "no blob of values"),
        ("cut", values.pack({"a": 1})[:-1], "cut off"),
        ("none", None, "No such file"),
    ):
        path = left.folder / name
        if data is not None:
            path.write_bytes(data)
        final = client.request(wire.Push(client.new_id(), "main", str(path))).result(60)
        assert final.reason == "refused"
        assert str(final.result).startswith("the variables were not set: ")
        assert says in str(final.result)
        assert not path.exists()


def test_where_a_file_can_t_be_written(client: Client) -> None:
    code = "import tempfile; before = tempfile.tempdir; tempfile.tempdir = '/nowhere'; fine = 1"
    run(client, code)
    with pytest.raises(RequestRefused, match="can't be written to a file"):
        variables.pull(client, "main", ["fine"])


def test_a_session_that_dies_meanwhile(client: Client) -> None:
    cell = client.request(
        wire.Execute(client.new_id(), "main", "import os, time; time.sleep(0.3); os._exit(3)")
    )
    with pytest.raises(TransferError, match="died"):
        variables.pull(client, "main", ["z"])
    assert cell.result(60).reason == "died"


# ---- numpy and pandas


@pytest.mark.parametrize("server", ["ipython"], indirect=True)
def test_arrays_and_frames(client: Client) -> None:
    sent = {
        "array": np.arange(12.0).reshape(3, 4),
        "frame": pd.DataFrame(
            {"c": pd.Categorical(["a", "b"]), "t": pd.date_range("2020", periods=2, tz="UTC")},
            index=pd.Index([3, 1], name="n"),
        ),
    }
    variables.push(client, "main", sent)
    assert run(client, "print(array.sum(), frame.index.tolist(), frame.c.dtype)") == (
        "66.0 [3, 1] category\n"
    )
    check_alike(variables.pull(client, "main", list(sent)), sent)


@pytest.mark.parametrize("server", ["plain"], indirect=True)
def test_a_container_without_numpy_says_what_to_install(client: Client) -> None:
    with pytest.raises(RequestRefused, match="has no numpy; install it there: pip install numpy"):
        variables.push(client, "main", {"a": np.arange(3)})


# ---- a container that isn't to be trusted


def hostile(blob: bytes, path: Any = "/tmp/x") -> Any:
    """A server that answers a pull with this blob."""

    def answer(request: wire.Request, send: peer.Send) -> None:
        result: Any = {}
        if isinstance(request, wire.Pull):
            result = {"path": path, "size": len(blob)}
        elif isinstance(request, wire.GetFile):
            (data,) = wire.pack_buffers([blob])
            digest = hashlib.sha256(blob).hexdigest()
            result = {"data": data, "size": len(blob), "mtime": 0, "eof": True, "sha256": digest}
        send(wire.Final(request.id, 0, result=result))

    return peer.server(answer)


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        (b"", "no blob"),
        (values.pack({"b": 1}), "the container sent b"),
        (values.pack({"a": 1, "b": 1}), "the container sent a, b"),
        (values.pack({}), "the container sent none"),
        (values.pack({"a": 1})[:-2], "cut off"),
    ],
)
def test_a_hostile_answer(blob: bytes, says: str) -> None:
    with hostile(blob) as endpoint:
        client = Client(endpoint, Deadline(5))
        with pytest.raises(TransferError, match=says):
            variables.pull(client, "main", ["a"])
        client.close()


def test_an_answer_without_a_file() -> None:
    for path in (None, 5):
        with hostile(b"", path) as endpoint:
            client = Client(endpoint, Deadline(5))
            with pytest.raises(TransferError, match="names no file"):
                variables.pull(client, "main", ["a"])
            client.close()


def test_nothing_is_imported_for_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The container's code can lay a pandas.py or a tzdata into the folder that it shares."""
    blob = values.pack({"a": pd.Series([1])})
    for name in ("pandas", "tzdata"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this must not run')")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    header = json.dumps({"buffers": [], "values": {"a": ["zoneinfo", "Nowhere/Land"]}}).encode()
    zone = values.MAGIC + len(header).to_bytes(8, "big") + header
    for data, name in ((blob, "pandas"), (zone, "tzdata")):
        with hostile(data) as endpoint:
            client = Client(endpoint, Deadline(5))
            with pytest.raises(TransferError, match=f"type: import {name}"):
                variables.pull(client, "main", ["a"])
            client.close()


def test_a_package_that_is_not_installed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = values.pack({"a": pd.NaT})
    monkeypatch.delitem(sys.modules, "pandas")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match="pip install pandas, and import pandas"):
        values.unpack(blob, variables._imported)


def test_an_interrupted_pull_leaves_no_file(
    client: Client, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M7: the file comes when nobody waits any more."""
    run(client, "fine = 1")
    done = threading.Event()
    finish = variables._finish

    def interrupt(call: Any, _what: str) -> Any:
        call.future.add_done_callback(lambda _: done.set())
        raise KeyboardInterrupt

    monkeypatch.setattr(variables, "_finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        variables.pull(client, "main", ["fine"])
    monkeypatch.setattr(variables, "_finish", finish)
    assert done.wait(10)
    assert left.none()
