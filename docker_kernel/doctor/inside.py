"""What is seen by starting a server as a kernel does, and by looking around where it runs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from docker_kernel_server import messages as wire

from .. import commands
from ..config import Settings
from ..errors import (
    AuthenticationFailed,
    DockerKernelError,
    ImageError,
    ImageNotFound,
    ServerError,
    ServerNotTrusted,
    VersionMismatch,
)
from ..sandbox import Sandbox
from ..session import Session
from .engine import Known, disk, room
from .findings import Finding, of_error
from .machine import proxies

PROBE_SECONDS = 30.0
"""How long the look around may take."""

# Any Python from 3.8 on, and nothing of the work folder's.
_PROBE = """
import sys; sys.path[:] = filter(None, sys.path)
import json, locale, os
def read(*paths):
    for path in paths:
        try:
            return open(path).read().strip()
        except OSError:
            pass
groups = "/sys/fs/cgroup/"
disk = os.statvfs("/")
print("docker-kernel-probe:" + json.dumps({
    "stdout": sys.stdout.encoding,
    "files": sys.getfilesystemencoding(),
    "text": locale.getpreferredencoding(False),
    "locale": {k: v for k, v in os.environ.items()
               if k in ("LANG", "PYTHONIOENCODING", "PYTHONUTF8") or k.startswith("LC_")},
    "memory": read(groups + "memory.max", groups + "memory/memory.limit_in_bytes"),
    "processes": read(groups + "pids.max", groups + "pids/pids.max"),
    "free": disk.f_bavail * disk.f_frsize,
    "proxies": [k for k in os.environ if k.lower() in ("http_proxy", "https_proxy")],
}))
"""

_KINDS: tuple[tuple[type[DockerKernelError], str], ...] = (
    (ImageNotFound, "image"),
    (ImageError, "python"),
    (AuthenticationFailed, "authentication"),
    (ServerNotTrusted, "authentication"),
    (VersionMismatch, "authentication"),
    (ServerError, "port"),
)


def look(settings: Settings, known: Known | None, environ: dict[str, str]) -> Iterator[Finding]:
    """Start it, look, and end it. `known` is the engine, None where there is none in this mode."""
    began = time.monotonic()
    sandbox = Sandbox(settings)
    try:
        session = Session(sandbox, "doctor", fresh=True)
        try:
            session.client()
        except DockerKernelError as exc:
            yield of_error(
                next((name for kind, name in _KINDS if isinstance(exc, kind)), "start"), exc
            )
            return
        yield from _started(sandbox, time.monotonic() - began)
        yield Finding("port", "ok", f"the server answers at {sandbox.endpoint}")
        yield _authentication(sandbox)
        yield _python(session)
        found = _probe(sandbox)
        if isinstance(found, Finding):
            yield found
            return
        yield encoding(found)
        if known is not None:
            yield enforced(found, settings)
            if disk(known).level == "skipped":
                yield room(found["free"], "the container", known)
            yield from missing_proxy(found, settings, environ)
        session.close()
    finally:
        sandbox.stop()


def _started(sandbox: Sandbox, seconds: float) -> Iterator[Finding]:
    mode, said = sandbox.settings.resolved_mode(), sandbox.describe()
    notices = " ".join(sandbox.notices)
    if mode == "local":
        yield Finding("start", "warning", said, notices, "unset DOCKER_KERNEL_MODE")
        return
    yield Finding("start", "ok", f"{said}; in {seconds:.1f} s")
    if notices:
        # Where the doctor was called needn't be where the notebooks are: so no problem.
        what, _, remedy = notices.partition("To mend it: ")
        why = "a kernel that is started in this folder finds it so"
        yield Finding("folder", "warning", what.strip(), why, remedy)
    elif mode == "docker":
        yield Finding("folder", "ok", "the container sees and writes what it is to")


def _authentication(sandbox: Sandbox) -> Finding:
    endpoint = sandbox.endpoint
    if endpoint is not None and endpoint.secret is None:
        return Finding(
            "authentication",
            "warning",
            f"the server at {endpoint} asks for no secret",
            "whoever reaches its port can run code there",
            "start it with --secret-file FILE, and set DOCKER_KERNEL_SECRET_FILE=FILE here",
        )
    return Finding("authentication", "ok", "both sides have proved that they know the secret")


def _python(session: Session) -> Finding:
    info = session.info
    shell = f"IPython {info.get('ipython')}" if info.get("ipython") else "a plain shell"
    return Finding("python", "ok", f"Python {info.get('python')} with {shell}")


def _probe(sandbox: Sandbox) -> dict[str, Any] | Finding:
    with closing(sandbox.connection()) as client:
        about = client.ask(wire.Status(client.new_id()), PROBE_SECONDS)
        python = shlex.quote(about.get("executable", "python3"))
        text = f"{python} -c {shlex.quote(_PROBE)}"
        done = commands.run(client, commands.Command(text, timeout=PROBE_SECONDS))
    for line in done.stdout.splitlines():
        if line.startswith("docker-kernel-probe:"):
            return dict(json.loads(line.partition(":")[2]))
    return Finding(
        "encoding",
        "warning",
        "a command in the container gave no answer",
        done.error or (done.stderr or done.stdout)[-300:] or f"exit code {done.exit_code}",
        "an image without /bin/sh runs cells, and no commands; use another image for these",
    )


def encoding(found: dict[str, Any]) -> Finding:
    """Whether programs in the container write UTF-8."""
    wrong = {what: found[what] for what in ("stdout", "files", "text") if not _is_utf8(found[what])}
    if not wrong:
        return Finding("encoding", "ok", "programs in the container write UTF-8")
    said = ", ".join(f"{what}: {name}" for what, name in wrong.items())
    named = ", ".join(f"{name}={value}" for name, value in found["locale"].items())
    return Finding(
        "encoding",
        "warning",
        f"programs in the container don't write UTF-8 ({said})",
        f"letters beyond that are lost, or raise an error; the container has {named or 'no LANG'}",
        "DOCKER_KERNEL_ENV=\"{'LANG': 'C.UTF-8', 'LC_ALL': 'C.UTF-8', 'PYTHONIOENCODING': "
        "'utf-8', 'PYTHONUTF8': '1'}\"",
    )


def _is_utf8(name: str) -> bool:
    return name.lower().replace("-", "").replace("_", "") == "utf8"


def enforced(found: dict[str, Any], settings: Settings) -> Finding:
    """Whether the limits that were asked for are there."""
    wanted = {"memory": settings.memory_bytes(), "processes": settings.pids}
    unseen = [name for name in wanted if not found[name]]
    missing = [
        name
        for name, value in wanted.items()
        if found[name] and (not found[name].isdigit() or int(found[name]) > value)
    ]
    if missing:
        return Finding(
            "enforced",
            "warning",
            f"in the container there is no limit of {' and '.join(missing)}",
            "the engine took the limits and doesn't enforce them",
            "see what it says: docker info; the finding limits has more",
        )
    if unseen:
        return Finding(
            "enforced", "skipped", f"the container doesn't see its {' and '.join(unseen)}"
        )
    words = f"{settings.memory} of memory and {settings.pids} processes"
    return Finding("enforced", "ok", f"the container has its limits: {words}")


def missing_proxy(
    found: dict[str, Any], settings: Settings, environ: dict[str, str]
) -> Iterator[Finding]:
    """A proxy of this machine that code in the container doesn't know."""
    here = proxies(environ)
    if here and not found["proxies"] and settings.network != "none":
        scheme, url = next(iter(here.items()))
        yield Finding(
            "proxy",
            "warning",
            f"there is a proxy here ({url}), and none in the container",
            "code in the container, pip for instance, may not reach the network",
            f"DOCKER_KERNEL_ENV=\"{{'{scheme.upper()}_PROXY': 'http://HOST:PORT'}}\", with a HOST "
            "that the container can reach (its own localhost is another one)",
        )
