"""What is lent to an image: the server, and the IPython of this machine as pure Python; and, where
it is asked for, certificates of further authorities.

Each of them goes into a volume of its own, named after a digest of its contents and the image:
so a volume that was filled once serves every kernel of that image, and a change of the server costs
no new copy of IPython. Reading all of IPython takes half a second; so its digest is kept in the
cache, and looked at again only where an installation has changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any

from docker_kernel_server import messages

from .errors import StartError

LENT = ("ipython", "comm")
NOT_LENT = frozenset({"psutil", "colorama"})  # compiled, and for Windows; IPython does without
VOLUME_PREFIX = "docker-kernel-runtime-"
TARGET = "/opt/docker-kernel"
ENTRY = "tcp_server.py"
SERVER, PACKAGES = "server", "packages"
PACKAGES_FOLDER = "lib"
AUTHORITIES = "certificates"
_CA = "ca"
CA_FOLDER = f"{TARGET}/{_CA}"
_EXTRA_CA, _CA_BUNDLE = "extra.pem", "bundle.pem"
_BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
)
"""By which programs are told whom to trust, instead of what they know by themselves: OpenSSL with
Python's ssl, requests, curl, pip, git."""

_SKIPPED_SUFFIXES = (".pyc", ".so", ".pyd", ".dylib", ".dll")
# What an installer writes about itself: it differs where the package doesn't.
_SKIPPED_NAMES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})
_CACHE_FORMAT = 1


@dataclass(frozen=True)
class _File:
    name: str  # inside the volume, with slashes
    path: Path


def cache_folder() -> Path:
    """Where docker-kernel keeps what it can find out again."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("docker-kernel", appauthor=False))


@dataclass(frozen=True)
class Part:
    """One of the things that are lent, as it is now."""

    name: str
    target: str
    """Where it is mounted in a container."""
    digest: str
    """The SHA-256 of its contents, in hex."""
    archive: Callable[[], bytes] = field(repr=False, compare=False)
    """Gives its contents, as an uncompressed tar."""

    def volume_name(self, image_id: str, cache_tag: str, version: str) -> str:
        """The volume with this, filled and compiled by the Python of this image.

        The image is in it: what one image's Python has written, no other image runs.
        """
        how = hashlib.sha256(fill_script()).hexdigest()
        text = f"{self.name} {self.digest} {how} {image_id} {cache_tag} {version}"
        return VOLUME_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:16]


def parts() -> list[Part]:
    """What to lend, outer mount first: the server, and the packages in its folder lib."""
    packages = _packages()
    server = _hash(_server_files())
    server.update(packages["description"].encode())
    return [
        Part(SERVER, TARGET, server.hexdigest(), _archive_server),
        Part(PACKAGES, f"{TARGET}/{PACKAGES_FOLDER}", str(packages["digest"]), _archive_packages),
    ]


def authorities(certificates: bytes) -> Part:
    """These certificates, and those that the image has."""
    digest = hashlib.sha256(certificates).hexdigest()
    return Part(AUTHORITIES, CA_FOLDER, digest, lambda: _archive_authorities(certificates))


def ca_variables(folder: str) -> dict[str, str]:
    """The environment with which programs trust the authorities that `folder` was filled with."""
    bundle = dict.fromkeys(_BUNDLE_VARIABLES, f"{folder}/{_CA_BUNDLE}")
    return {**bundle, "NODE_EXTRA_CA_CERTS": f"{folder}/{_EXTRA_CA}"}


def _archive_authorities(certificates: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        add_to_tar(tar, _EXTRA_CA, certificates)
    return buffer.getvalue()


def _archive_server() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        # Where the others are mounted: the engine can't make a folder in a read-only volume.
        for name in (PACKAGES_FOLDER, _CA):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        add_to_tar(tar, "lib.json", _packages()["description"].encode())
        for file in _server_files():
            add_to_tar(tar, file.name, file.path.read_bytes())
    return buffer.getvalue()


def _archive_packages() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in _package_files(_closure()):
            add_to_tar(tar, file.name, file.path.read_bytes())
    return buffer.getvalue()


def _packages() -> dict[str, Any]:
    """Digest and description of the packages, from the cache where nothing has changed."""
    cache = cache_folder() / "runtime.json"
    key = _cache_key()
    known = read_json(cache)
    if known.get("key") == key and all(_stamp(path) == stamp for path, stamp in known["stamps"]):
        return known
    distributions = _closure()
    found = {
        "key": key,
        "stamps": [[path, _stamp(path)] for path in _watched(distributions)],
        "digest": _hash(_package_files(distributions)).hexdigest(),
        "description": _description(distributions),
    }
    write_json(cache, found)
    return found


def _hash(files: list[_File]) -> Any:
    found = hashlib.sha256()
    for file in files:
        data = file.path.read_bytes()
        found.update(f"{file.name}\0{len(data)}\0".encode())
        found.update(data)
    return found


def fill_script() -> bytes:
    """The program that unpacks and compiles `archive` in a container."""
    return (server_package() / "fill.py").read_bytes()


def entry_script() -> Path:
    """The file tcp_server.py, which starts the server."""
    package = server_package()
    # In the source tree it lies beside the package; in a wheel inside it, or it would be a
    # top-level module of site-packages.
    for folder in (package.parent, package):
        if (folder / ENTRY).is_file():
            return folder / ENTRY
    raise StartError(
        f"{ENTRY} is missing", f"it should be beside {package}", "install docker-kernel again"
    )


def add_to_tar(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    """Add a file that belongs to root and is as old as the epoch: the same contents, the same
    bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = mode
    tar.addfile(info, io.BytesIO(data))


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote, {} where there is nothing of use."""
    with suppress(OSError, ValueError):
        value = json.loads(path.read_text("utf-8"))
        if isinstance(value, dict) and value.get("format") == _CACHE_FORMAT:
            return value
    return {}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write atomically. A cache that can't be written is no reason to fail."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"format": _CACHE_FORMAT, **value}, file)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink()


# -- which distributions


def _closure() -> list[Distribution]:
    """IPython, comm, and what they need on Linux, sorted by name."""
    # Imported late: only where the cache doesn't know.
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, Distribution] = {}
    names = list(LENT)
    while names:
        name = canonicalize_name(names.pop())
        if name in found or name in NOT_LENT:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except PackageNotFoundError:
            if name in LENT:
                raise StartError(f"{name} is missing here", "", f"pip install {name}") from None
            continue  # the image may have it; where not, the plain shell serves
        for text in found[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or _holds_on_linux(requirement.marker):
                names.append(requirement.name)
    return [found[name] for name in sorted(found)]


def _holds_on_linux(marker: Any) -> bool:
    """Whether a marker holds in some image: on Linux, with any Python, without extras."""
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": ""}
    # The image's Python may be another than ours: what any of them needs goes along.
    return any(
        marker.evaluate(
            {**linux, "python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
        )
        for minor in range(8, 16)
    )


def _description(distributions: list[Distribution]) -> str:
    """lib.json, from which the zygote sees whether the lent IPython fits its Python."""
    ipython = next(item for item in distributions if item.name.lower() == "ipython")
    value = {
        "requires_python": ipython.metadata.json.get("requires_python", ""),
        "packages": {item.name: item.version for item in distributions},
    }
    return json.dumps(value, indent=1, sort_keys=True)


# -- which files


def _server_files() -> list[_File]:
    """The server's files, sorted by their names in the volume."""
    package = server_package()
    found = [_File(ENTRY, entry_script())]
    for path in package.rglob("*.py"):
        if path.name != ENTRY:
            name = f"{package.name}/{path.relative_to(package).as_posix()}"
            found.append(_File(name, path))
    return sorted(found, key=lambda file: file.name)


def _package_files(distributions: list[Distribution]) -> list[_File]:
    """The files of the packages, sorted by their names in the volume."""
    found = [_File(name, path) for item in distributions for name, path in _contents(item)]
    return sorted(found, key=lambda file: file.name)


def _contents(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    listed = [str(item).replace(os.sep, "/") for item in distribution.files or []]
    if not any(name.endswith(".py") for name in listed):
        # An editable installation, or a distributor's without RECORD: take what Python would
        # import.
        yield from _importable(distribution)
        return
    for name in listed:
        path = Path(str(distribution.locate_file(name)))
        if _is_lent(name) and path.is_file():
            yield name, path


def _importable(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    text = distribution.read_text("top_level.txt") or distribution.name.replace("-", "_")
    for module in text.split():
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        if origin.name != "__init__.py":
            yield origin.name, origin
            continue
        for path in origin.parent.rglob("*"):
            name = path.relative_to(origin.parent.parent).as_posix()
            if path.is_file() and _is_lent(name):
                yield name, path


def _is_lent(name: str) -> bool:
    parts = name.split("/")
    outside = ".." in parts or name.startswith("/")  # scripts, man pages
    skipped = parts[-1] in _SKIPPED_NAMES or name.endswith(_SKIPPED_SUFFIXES)
    return not (outside or skipped or "__pycache__" in parts)


def server_package() -> Path:
    """The folder of the package docker_kernel_server."""
    return Path(messages.__file__).parent


# -- what shows that the cached digest still holds


def _cache_key() -> list[str]:
    spec = importlib.util.find_spec("IPython")
    return [sys.version, sys.prefix, str(spec.origin) if spec else ""]


def _watched(distributions: list[Distribution]) -> list[str]:
    """The files of each distribution that every installer writes anew."""
    watched = []
    for item in distributions:
        records = [file for file in item.files or [] if file.name in ("RECORD", "METADATA")]
        paths = [str(item.locate_file(file)) for file in records]
        watched += paths or [str(path) for _, path in _contents(item)]
    return sorted(watched)


def _stamp(path: str) -> list[int]:
    try:
        status = Path(path).stat()
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size]
