"""What is seen by starting a server as a kernel does, and by looking around where it runs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

from docker_kernel_server import messages as wire

from .. import commands
from ..config import Settings
from ..errors import (
    AuthenticationFailed,
    ConnectionLost,
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
    session = Session(sandbox, "doctor", fresh=True)
    try:
        session.client()
        yield from _started(sandbox, time.monotonic() - began)
        yield Finding("port", "ok", f"the server answers at {sandbox.endpoint}")
        yield _authentication(sandbox)
        yield _python(session)
        yield from _seen(_probe(sandbox), settings, known, environ)
    except DockerKernelError as exc:
        yield of_error(next((name for kind, name in _KINDS if isinstance(exc, kind)), "start"), exc)
    finally:
        session.close()  # the server may be somebody else's, and goes on
        sandbox.stop()


def _seen(
    done: commands.Done, settings: Settings, known: Known | None, environ: dict[str, str]
) -> Iterator[Finding]:
    seen = read_probe(done.stdout)
    if seen is None:
        words = done.error or (done.stderr or done.stdout)[-300:]
        yield Finding(
            "encoding",
            "warning",
            "a command in the container gave no answer",
            words or f"it ended with exit code {done.exit_code}",
            "an image without /bin/sh runs cells, and no commands; use another image for these",
        )
        return
    yield encoding(seen)
    if known is not None:
        yield enforced(seen, settings)
        if disk(known).level == "skipped":
            yield room(seen.free, "the container", known)
        yield from missing_proxy(seen, settings, environ)


def _started(sandbox: Sandbox, seconds: float) -> Iterator[Finding]:
    mode, said = sandbox.settings.resolved_mode(), sandbox.describe()
    notices = [text for text in sandbox.notices if text not in sandbox.settings.notices]
    if mode == "local":
        yield Finding("start", "warning", said, " ".join(notices), "unset DOCKER_KERNEL_MODE")
        return
    yield Finding("start", "ok", f"{said}; in {seconds:.1f} s")
    for notice in notices:
        # Where the doctor was called needn't be where the notebooks are: so no problem.
        what, _, remedy = notice.partition("To mend it: ")
        name = "folder" if "folder" in what else "port" if mode == "attached" else "start"
        why = "a kernel with these settings, in this folder, says so in its first cell"
        yield Finding(name, "warning", what.strip(), why, remedy or "see docs/settings.md")
    if mode == "docker" and not notices:
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


def _probe(sandbox: Sandbox) -> commands.Done:
    """Run the probe. Raises a DockerKernelError."""
    with closing(sandbox.connection()) as client:
        try:
            about = client.ask(wire.Status(client.new_id()), PROBE_SECONDS)
        except TimeoutError as exc:
            raise ConnectionLost("the server doesn't answer", str(exc), "run it again") from exc
        python = shlex.quote(str(about.get("executable", "python3")))
        text = f"{python} -c {shlex.quote(_PROBE)}"
        return commands.run(client, commands.Command(text, timeout=PROBE_SECONDS))


@dataclass(frozen=True)
class Seen:
    """What the probe has seen. A limit that isn't there is "max" or very large, one that can't be
    read is ""."""

    stdout: str
    files: str
    text: str
    locale: dict[str, str]
    memory: str
    processes: str
    free: float
    proxies: bool


def read_probe(output: str) -> Seen | None:
    """What a probe has printed, None where that is none: an image can have its Python print what it
    likes."""
    for line in output.splitlines():
        if line.startswith("docker-kernel-probe:"):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                found = json.loads(line.partition(":")[2])
                return Seen(
                    stdout=str(found["stdout"]),
                    files=str(found["files"]),
                    text=str(found["text"]),
                    locale={str(name): str(value) for name, value in found["locale"].items()},
                    memory=str(found["memory"] or ""),
                    processes=str(found["processes"] or ""),
                    free=float(found["free"]),
                    proxies=bool(found["proxies"]),
                )
    return None


def encoding(seen: Seen) -> Finding:
    """Whether programs in the container write UTF-8."""
    found = {"stdout": seen.stdout, "files": seen.files, "text": seen.text}
    wrong = {what: name for what, name in found.items() if not _is_utf8(name)}
    if not wrong:
        return Finding("encoding", "ok", "programs in the container write UTF-8")
    said = ", ".join(f"{what}: {name}" for what, name in wrong.items())
    named = ", ".join(f"{name}={value}" for name, value in seen.locale.items())
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


def enforced(seen: Seen, settings: Settings) -> Finding:
    """Whether the limits that were asked for are there."""
    wanted = {
        "memory": (seen.memory, settings.memory_bytes()),
        "processes": (seen.processes, settings.pids),
    }
    unseen = [name for name, (found, _) in wanted.items() if not found]
    missing = [
        name
        for name, (found, value) in wanted.items()
        if found and not (found.isdecimal() and int(found) <= value)
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


def missing_proxy(seen: Seen, settings: Settings, environ: dict[str, str]) -> Iterator[Finding]:
    """A proxy of this machine that code in the container doesn't know."""
    here = proxies(environ)
    if here and not seen.proxies and settings.network != "none":
        scheme, url = next(iter(here.items()))
        yield Finding(
            "proxy",
            "warning",
            f"there is a proxy here ({url}), and none in the container",
            "code in the container, pip for instance, may not reach the network",
            f"DOCKER_KERNEL_ENV=\"{{'{scheme.upper()}_PROXY': 'http://HOST:PORT'}}\", with a HOST "
            "that the container can reach (its own localhost is another one)",
        )
