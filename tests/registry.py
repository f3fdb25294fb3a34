"""An image registry with one image, that a test serves itself."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CONFIG = "application/vnd.docker.container.image.v1+json"

ERROR = {"code": "UNAUTHORIZED", "message": "authentication required"}
UNAUTHORIZED = json.dumps({"errors": [ERROR]}).encode()


class Registry:
    """A registry with one image in it, `box:1`, on a port of 127.0.0.1."""

    def __init__(self, text: str, login: str = "") -> None:
        """With `login`, NAME:PASSWORD, it serves nobody else."""
        self.blobs: dict[str, bytes] = {}
        self.manifest = b""
        self.serving = threading.Event()
        """While it is clear, blobs are on their way for ever."""
        self.serving.set()
        self.put(text)
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proof = f"Basic {b64encode(login.encode()).decode()}"
                if login and self.headers["Authorization"] != proof:
                    status, kind, body = 401, "application/json", UNAUTHORIZED
                else:
                    status, kind, body = registry.answer(self.path)
                self.send_response(status)
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
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

    def put(self, text: str, more: bytes = b"") -> None:
        """Make the image anew, with `text` in its one file, and `more` to make it large."""
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            data = text.encode() + more
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
