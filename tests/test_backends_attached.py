"""Attached mode, with real sockets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from docker_kernel.backends import make_backend
from docker_kernel.backends.attached import AttachedBackend
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import SettingError


def backend(**environ: str) -> AttachedBackend:
    made = make_backend(Settings.load(environ={"DOCKER_HOST": "localhost", **environ}))
    assert isinstance(made, AttachedBackend)
    return made


def test_it_finds_the_server_and_leaves_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"s3cret\nmore\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        attached = backend(DOCKER_PORT=str(port), DOCKER_KERNEL_SECRET_FILE=str(file))
        endpoint = attached.start(Deadline(5), print)
        assert endpoint == Endpoint("localhost", port, b"s3cret", ours=False)
        assert "s3cret" not in repr(endpoint)
        assert f"localhost:{port}" in attached.describe()
        assert attached.postmortem() == ""
        attached.stop()
        attached.stop()
        assert attached.start(Deadline(5), print) == endpoint
        assert attached.handover() is None
        assert attached.notices == []
    # It may be the network that is away.
    assert attached.postmortem() == ""


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert "at [::1]:9" in backend(DOCKER_HOST="[::1]:9").describe()


def test_without_a_secret_file_there_is_no_secret() -> None:
    assert backend().start(Deadline(5), print).secret is None


@pytest.mark.parametrize("contents", [None, b"", b"\nsecond line\n"])
def test_a_secret_file_of_no_use(tmp_path: Path, contents: bytes | None) -> None:
    file = tmp_path / "secret"
    if contents is not None:
        file.write_bytes(contents)
    with pytest.raises(SettingError, match="DOCKER_KERNEL_SECRET_FILE") as caught:
        backend(DOCKER_KERNEL_SECRET_FILE=str(file)).start(Deadline(5), print)
    assert os.fspath(file) in caught.value.what
