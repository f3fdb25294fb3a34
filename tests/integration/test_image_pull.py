"""Pulling an image, from a registry that the test serves itself."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound as NoSuchImage

from docker_kernel.backends import images
from docker_kernel.backends.docker import Engine as Connection
from docker_kernel.backends.images import ensure_image
from docker_kernel.deadline import Deadline
from docker_kernel.errors import ImageNotFound, StartTimeout
from engine import Engine

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CONFIG = "application/vnd.docker.container.image.v1+json"


class Registry:
    """A registry with one image in it, `box:1`, on a port of 127.0.0.1."""

    def __init__(self, text: str) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifest = b""
        self.serving = threading.Event()
        """While it is clear, blobs are on their way for ever."""
        self.serving.set()
        self.put(text)
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = registry.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", digest(body))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - the base class's name

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, text: str) -> None:
        """Make the image anew, with `text` in its one file."""
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            data = text.encode()
            info = tarfile.TarInfo("file")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        packed = gzip.compress(layer.getvalue(), mtime=0)
        rootfs = {"type": "layers", "diff_ids": [digest(layer.getvalue())]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": len(config), "digest": digest(config)},
            "layers": [{"mediaType": LAYER, "size": len(packed), "digest": digest(packed)}],
        }
        self.blobs = {digest(config): config, digest(packed): packed}
        self.manifest = json.dumps(manifest).encode()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a path."""
        last = path.rpartition("/")[2]
        if path == "/v2/":
            return 200, "application/json", b"{}"
        if path.startswith("/v2/box/manifests/") and last in ("1", digest(self.manifest)):
            return 200, MANIFEST, self.manifest
        if path.startswith("/v2/box/blobs/") and last in self.blobs:
            self.serving.wait(60)
            return 200, "application/octet-stream", self.blobs[last]
        if path.startswith("/v2/private/"):
            error = {"code": "DENIED", "message": "requested access to the resource is denied"}
            return 403, "application/json", json.dumps({"errors": [error]}).encode()
        error = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}
        return 404, "application/json", json.dumps({"errors": [error]}).encode()

    def close(self) -> None:
        """Stop serving."""
        self.serving.set()
        self.server.shutdown()
        self.server.server_close()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture
def registry(docker_client: docker.DockerClient) -> Iterator[Registry]:
    """A registry that serves, and whose images are gone from the engine afterwards."""
    found = Registry("one")
    try:
        yield found
    finally:
        found.close()
        for item in docker_client.images.list(name=f"{found.host}/box"):
            docker_client.images.remove(str(item.id), force=True)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    found = Connection({"DOCKER_HOST": engine.host}, Deadline(30))
    yield found
    found.close()


def ensure(connection: Connection, name: str, policy: str) -> tuple[Any, list[str]]:
    """What the engine says of the image, and the lines of progress."""
    lines: list[str] = []
    return ensure_image(connection, name, policy, Deadline(60), lines.append), lines


def test_a_missing_image_is_pulled_with_progress_and_then_it_is_here(
    connection: Connection, registry: Registry
) -> None:
    name = f"{registry.host}/box:1"
    found, lines = ensure(connection, name, "missing")
    assert found["Id"] in registry.blobs
    assert lines[0] == f"pulling the image {name}"
    assert lines[-1] == f"pulled the image {name}"
    registry.put("two")
    # A local image is never replaced behind the person's back …
    again, lines = ensure(connection, name, "missing")
    assert (again["Id"], lines) == (found["Id"], [])
    assert ensure(connection, name, "never")[0]["Id"] == found["Id"]
    # … unless they ask for it.
    newer, lines = ensure(connection, name, "always")
    assert newer["Id"] in registry.blobs
    assert newer["Id"] != found["Id"]
    assert lines


def test_an_image_by_digest(connection: Connection, registry: Registry) -> None:
    name = f"{registry.host}/box@{digest(registry.manifest)}"
    assert ensure(connection, name, "missing")[0]["Id"] in registry.blobs


@pytest.mark.parametrize(
    ("name", "words"),
    [("box:2", "check the name and the tag"), ("private:1", "docker login")],
)
def test_what_cannot_be_pulled_has_its_own_remedy(
    connection: Connection, registry: Registry, name: str, words: str
) -> None:
    with pytest.raises(ImageNotFound) as caught:
        ensure(connection, f"{registry.host}/{name}", "missing")
    assert words in caught.value.remedy
    assert caught.value.why


def test_a_registry_that_is_away(
    connection: Connection, free_port: int, docker_client: docker.DockerClient
) -> None:
    name = f"127.0.0.1:{free_port}/box:1"
    with pytest.raises(ImageNotFound, match="check the network"):
        ensure(connection, name, "missing")
    with pytest.raises(ImageNotFound, match="never"):
        ensure(connection, name, "never")
    with pytest.raises(NoSuchImage):
        docker_client.images.get(name)


def test_a_pull_that_fails_leaves_the_local_image_alone(
    connection: Connection, registry: Registry
) -> None:
    name = f"{registry.host}/box:1"
    before, _ = ensure(connection, name, "missing")
    registry.blobs.clear()
    registry.manifest = b"{}"
    with pytest.raises(ImageNotFound):
        ensure(connection, name, "always")
    assert ensure(connection, name, "missing")[0]["Id"] == before["Id"]


def test_names_without_a_tag_mean_latest(connection: Connection, registry: Registry) -> None:
    with pytest.raises(ImageNotFound, match="manifest unknown"):
        ensure(connection, f"{registry.host}/box", "missing")


def test_a_pull_of_which_nothing_is_heard(
    connection: Connection, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E1: the time of a pull is the line's; but one that has come to a halt ends."""
    monkeypatch.setattr(images, "PULL_SILENCE_SECONDS", 2.0)
    registry.serving.clear()
    name = f"{registry.host}/box:1"
    with pytest.raises(StartTimeout, match="came to a halt") as caught:
        ensure(connection, name, "missing")
    assert f"docker pull {name}" in caught.value.remedy
    registry.serving.set()
    assert ensure(connection, name, "missing")[0]["Id"] in registry.blobs
