"""An image of one's own: a base, and packages in it. The engine builds it.

Made for every engine that speaks Docker's API, so nothing in the Dockerfile needs BuildKit.
"""

from __future__ import annotations

import io
import json
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .. import runtime
from ..deadline import Deadline
from ..errors import EngineRefused, ImageNotBuilt, SettingError, StartTimeout
from ..requirements import CONDA_FILE, FOLDER, PIP_FILE, Wanted
from ..texts import without_codes
from .docker import Engine
from .probing import Run

SILENCE_SECONDS = 1800.0
"""A build that says nothing for so long has failed: a compiler may be silent for long."""

MAX_TAIL_LINES = 40
"""The last lines of a build, in which the cause of its end is looked for."""

MAX_STEP_CHARS = 90
MAX_CAUSE_CHARS = 300

CONDA_PROGRAMS = ("mamba", "conda", "micromamba", "/opt/conda/bin/mamba", "/opt/conda/bin/conda")

_NAME = re.compile(
    r"([\w.-]+(:\d+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:\w[\w.-]{0,127})?",
    re.ASCII,
)
_DEBIAN_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.:-]*(=[\w.+:~-]+)?", re.ASCII)
_STEP = re.compile(r"(?i)step \d+/\d+ ?:")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CA = f"{FOLDER}/ca"

_APT = (
    "apt-get update && apt-get install --yes --no-install-recommends -- "
    '"$@" && rm -rf /var/lib/apt/lists/* /var/cache/apt/*'
)
_PIP_ENVIRONMENT = {
    "PIP_BREAK_SYSTEM_PACKAGES": "1",  # the image is nobody's system
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_ROOT_USER_ACTION": "ignore",
}


@dataclass(frozen=True)
class Recipe:
    """All that an image is made of."""

    base: str
    user: str
    """The base's own, "" for root."""
    python: str
    """The base's, as a path."""
    wanted: Wanted
    apt: Sequence[str] = ()
    conda: str = ""
    """The base's program for conda packages."""
    certificates: bytes = field(default=b"", repr=False)
    """Of further authorities, in PEM."""

    def dockerfile(self) -> str:
        """How it is made."""
        copies = [f"COPY files {FOLDER}"] if self._files() else []
        lines = [f"FROM {self.base}", "USER root", *copies, *self._runs()]
        return "\n".join([*lines, f"USER {self.user or 'root'}", ""])

    def _runs(self) -> Iterator[str]:
        if self.apt:
            yield _run("env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", _APT, "apt", *self.apt)
        env = dict(_PIP_ENVIRONMENT)
        if self.certificates:
            yield _run(self.python, "-I", "-S", f"{FOLDER}/fill.py", _CA, f"{FOLDER}/ca.tar")
            env.update(runtime.ca_variables(_CA))
        settings = [f"{name}={value}" for name, value in env.items()]
        if self.conda:
            file = f"{FOLDER}/{CONDA_FILE}"
            if posixpath.basename(self.conda) == "micromamba":
                words = ["install", "--yes", "--name", "base", "--file", file]
            else:
                words = ["env", "update", "--name", "base", "--file", file]
            yield _run("env", *settings, self.conda, *words)
        if PIP_FILE in self.wanted.files:
            pip = [self.python, "-m", "pip", "install", "--requirement", f"{FOLDER}/{PIP_FILE}"]
            yield _run("env", *settings, *pip)

    def context(self) -> bytes:
        """What the engine gets: a tar with the Dockerfile, and the files that it copies."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            runtime.add_to_tar(tar, "Dockerfile", self.dockerfile().encode())
            for name, data in sorted(self._files().items()):
                runtime.add_to_tar(tar, f"files/{name}", data)
        return buffer.getvalue()

    def _files(self) -> dict[str, bytes]:
        """Those for the image, by their names in FOLDER."""
        files = dict(self.wanted.files)
        if self.certificates:
            files["fill.py"] = runtime.fill_script()
            files["ca.tar"] = runtime.authorities(self.certificates).archive()
            files["ca/.lock"] = b""  # so that there is the folder
        return files


def build(
    engine: Engine,
    recipe: Recipe,
    tag: str,
    environ: Mapping[str, str],
    show: Callable[[str], None],
    *,
    no_cache: bool = False,
) -> Mapping[str, Any]:
    """Build the image: what the engine says of it. `show` takes each line that the build prints.

    Raises ImageNotBuilt, StartTimeout, EngineError. No container is left, however it ends.
    """
    tail: list[str] = []
    try:
        with engine.calling("building the image", Deadline(SILENCE_SECONDS)) as api:
            messages = api.build(
                fileobj=io.BytesIO(recipe.context()),
                custom_context=True,
                encoding="",
                tag=tag,
                rm=True,
                forcerm=True,
                nocache=no_cache,
                buildargs=proxies(environ),
                use_config_proxy=True,
                decode=True,
            )
            for line in _lines(messages):
                tail = [*tail, line][-MAX_TAIL_LINES:]
                show(line)
        with engine.calling("looking for the image", Deadline(SILENCE_SECONDS)) as api:
            found: Mapping[str, Any] = api.inspect_image(tag)
            return found
    except StartTimeout as exc:
        raise ImageNotBuilt(
            f"the build of {tag} came to a halt",
            f"nothing was heard of it for {SILENCE_SECONDS:g} s",
            "check the network, and build it again",
        ) from exc
    except EngineRefused as exc:
        why, remedy = diagnose(tail, exc.why)
        raise ImageNotBuilt(f"the image {tag} can't be built", why, remedy) from exc


def check_name(tag: str) -> None:
    """Raise SettingError for what can't be an image's name."""
    if not _NAME.fullmatch(tag):
        raise SettingError(
            f"{tag!r} can't be an image's name",
            "it has lower-case letters and digits, with . _ - / between them, and perhaps a :TAG",
            "write for instance --tag analysis, or --tag registry.example.com/team/analysis:1.2",
        )


def check_apt(packages: Sequence[str]) -> None:
    """Raise SettingError for what can't be a package of Debian's."""
    for name in packages:
        if not _DEBIAN_PACKAGE.fullmatch(name):
            raise SettingError(
                f"{name!r} can't be a package of apt's", "", "write --apt once for each of them"
            )


def find_conda(run: Run) -> str:
    """The program in an image that installs conda packages, "" for none."""
    for program in CONDA_PROGRAMS:
        try:
            if run(program, ["--version"])[0] == 0:
                return program
        except EngineRefused:
            continue  # it isn't there
    return ""


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies of this machine, where a container can reach them: as build arguments, which
    leave no trace in an image."""
    found = {}
    for name in (*_PROXIES, *map(str.lower, _PROXIES)):
        value = environ.get(name, "")
        host = urlsplit(value if "://" in value else f"//{value}").hostname
        if value and (name.upper() == "NO_PROXY" or host not in _LOOPBACK):
            found[name] = value
    return found


def diagnose(tail: Sequence[str], words: str) -> tuple[str, str]:
    """Why a build has failed, and what to type: by its last lines, and the engine's `words`."""
    marked = [line for line in tail if line.startswith(("ERROR: ", "E: ", "error: "))]
    # pip says that it can't go on before it says why others have failed.
    why = next((line for line in reversed(marked) if "No matching" in line), "")
    why = why or (marked[-1] if marked else words)
    for advice, signs in _REMEDIES.items():
        for line in (*reversed(tail), words):
            if any(sign in line.lower() for sign in signs):
                before = "" if line in (why, words) else f"; before that: {line[:MAX_CAUSE_CHARS]}"
                return f"{why}{before}", advice
    return why, "read what it printed, mend that, and build it again"


_REMEDIES = {
    "make room on the engine's disk: docker system df, docker builder prune": ("no space left",),
    "name your company's authority: --extra-ca FILE": (
        "certificate_verify_failed",
        "certificate verify failed",
        "self-signed certificate",
    ),
    "check the engine's network; behind a proxy, set HTTPS_PROXY to one that containers reach": (
        "connection refused",
        "name or service not known",
        "name resolution",
        "network is unreachable",
        "proxyerror",
        "temporary failure resolving",
        "timed out",
    ),
    "take a base with pip, such as --base python:3.12-slim, or add it: --apt python3-pip": (
        "no module named pip",
    ),
    "--apt needs a base that is made of Debian or Ubuntu, such as python:3.12-slim": (
        "apt-get: not found",
    ),
    "check the names after --apt: https://packages.debian.org": ("unable to locate package",),
    "check the name and the version, and that there is one for the base's Python": (
        "could not find a version",
        "no matching distribution",
    ),
    "loosen the versions that are asked for": ("conflicting dependencies", "resolutionimpossible"),
    "it has no wheel for this Python, and had to be compiled: choose a version that has one, "
    "another --base, or add a compiler: --apt build-essential": (
        "failed building wheel",
        "failed to build",
        "metadata-generation-failed",
    ),
}
"""By what is looked for in the last lines, all of it in lower case; the first that fits counts."""


def _lines(messages: Any) -> Iterator[str]:
    """What the build prints, line by line. Raises EngineRefused where the engine tells its end."""
    rest = ""
    for message in messages:
        if error := message.get("error"):
            if rest:
                yield rest
            raise EngineRefused("the build failed", str(error))
        rest += str(message.get("stream") or "")
        *whole, rest = rest.split("\n")
        yield from filter(None, map(_shown, whole))
    if rest:
        yield rest


def _shown(line: str) -> str:
    """What a person gets of a line: not what was overwritten in it, nor the end of a long command
    of ours; "" where it is the engine's own bookkeeping."""
    line = without_codes(line.rstrip().rpartition("\r")[2]).rstrip()
    if line.startswith((" --->", "--> ", "Removing intermediate container")):
        return ""
    return f"{line[:MAX_STEP_CHARS]}…" if line[MAX_STEP_CHARS:] and _STEP.match(line) else line


def _run(*words: str) -> str:
    """A step, with its words as they are: no shell takes them apart."""
    return f"RUN {json.dumps(words)}"
