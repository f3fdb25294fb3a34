"""A Dockerfile and a requirements file for what a container has become.

All that is known of the packages comes from the container, whose code may have laid it there; the
person builds an image of it. So each line is made of what it must look like, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ..texts import plain

MAX_PLACES = 20
"""So many folders with changed files are named."""

REQUIREMENTS, DOCKERFILE = "requirements.txt", "Dockerfile"

Packages = Mapping[str, tuple[str, str, str | None]]
"""By the name as it is compared: the name, the version, and where it came from (PEP 610)."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_URL = re.compile(r"(?:https?|ssh|git)://[A-Za-z0-9:/?#@!&'()*+,;=._~%\[\]-]+")
_WORD = re.compile(r"[A-Za-z0-9._-]+")
_PYTHON = re.compile(r"[A-Za-z0-9_./+-]+")
_OWN = ("/opt/docker-kernel", "/workspace", "/dev", "/proc", "/sys")
_INIT = "docker-init"
"""The engine's, in a folder that has two names in most images."""
_OF_PIP = {"site-packages", "dist-packages", "__pycache__", ".cache", ".local", ".ipython"}


@dataclass
class Frozen:
    """What is written down: the requirements, and in words what can't be."""

    lines: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def read_packages(text: str) -> Packages | None:
    """What `LIST_ORIGINS` has printed, None where it isn't that."""
    try:
        # The last line: what starts with each Python may print before it.
        found = json.loads(text.splitlines()[-1])
        return {
            str(key): (str(name), str(version or ""), None if url is None else str(url))
            for key, (name, version, url) in found.items()
        }
    except (LookupError, ValueError, TypeError, AttributeError):
        return None


def freeze(now: Packages, image: Packages) -> Frozen:
    """What is installed on top of the image's own."""
    frozen = Frozen()
    for key, (name, version, url) in sorted(now.items()):
        if key in image and image[key][1:] == (version, url):
            continue
        line, why = _requirement(name, version, url)
        if line:
            frozen.lines.append(line)
        if why:
            frozen.missed.append(f"{_one_line(name)} {_one_line(version)} {why}")
    for key in sorted(set(image) - set(now)):
        frozen.missed.append(f"{_one_line(key)} is in the image, and was uninstalled")
    return frozen


def _requirement(name: str, version: str, url: str | None) -> tuple[str, str]:
    """The line for a package, "" for none, and what has to be said of it."""
    if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
        return "", "has a name or a version that none can have"
    if url is not None:
        return _from_url(name, url)
    if "+" in version:
        return f"{name}=={version}", "is a build of an index of its own: add its --extra-index-url"
    return f"{name}=={version}", ""


def _from_url(name: str, text: str) -> tuple[str, str]:
    try:
        found = json.loads(text)
        url, vcs = str(found["url"]), found.get("vcs_info")
        commit = str(vcs["commit_id"]) if vcs else ""
        kind = str(vcs["vcs"]) if vcs else ""
        folder = str(found.get("subdirectory") or "")
    except (LookupError, ValueError, TypeError, AttributeError):
        return "", "came from a place that can't be read"
    if not _URL.fullmatch(url):
        return (
            "",
            f"came from {_one_line(url)}: put it where pip can fetch it, and add a line for it",
        )
    end = f"#subdirectory={folder}" if folder else ""
    if folder and not all(_WORD.fullmatch(part) for part in folder.split("/")):
        return "", f"came from a folder of {_one_line(url)} that can't be written down"
    if not vcs:
        return f"{name} @ {url}{end}", ""
    if not (_WORD.fullmatch(commit) and _WORD.fullmatch(kind)):
        return "", f"came from {_one_line(url)}, at a state that can't be written down"
    return (
        f"{name} @ {kind}+{url}@{commit}{end}",
        f"is fetched with {kind}, which the image must have",
    )


def changed_places(changes: Iterable[tuple[str, str]], home: str) -> list[str]:
    """In words, the folders with files that were changed by other means than pip."""
    changes = list(changes)
    # The engine calls a folder changed where something in it was.
    folders = {str(parent) for _, path in changes for parent in PurePosixPath(path).parents}
    found = Counter(
        str(PurePosixPath(*PurePosixPath(path).parent.parts[:4]))
        for kind, path in changes
        if (kind == "deleted" or path not in folders) and _is_of_interest(path, home)
    )
    most = [f"{_one_line(place)} ({count})" for place, count in found.most_common(MAX_PLACES)]
    rest = len(found) - len(most)
    return [*most, *([f"{rest} more folders"] if rest else [])]


def _is_of_interest(path: str, home: str) -> bool:
    inner = PurePosixPath(path)
    if any(inner.is_relative_to(place) for place in _OWN):
        return False
    if path == home or inner.name == _INIT:
        return False
    return not _OF_PIP & set(inner.parts)


def requirements_text(frozen: Frozen, image: str) -> str:
    """The requirements file."""
    head = [f"# What was installed on top of {_one_line(image)}."]
    return _text([*head, *_comments(frozen.missed), *frozen.lines])


def dockerfile_text(
    reference: str, note: str, python: str, frozen: Frozen, places: list[str]
) -> str:
    """The Dockerfile."""
    lines = [
        "# What a notebook's container had become, written by %docker freeze.",
        "# Build it: docker build -t NAME .",
        *_comments([note] if note else []),
        f"FROM {_one_line(reference)}",
    ]
    if frozen.lines:
        program = python if _PYTHON.fullmatch(python) else "python3"
        file = f"/tmp/{REQUIREMENTS}"  # noqa: S108 - in the image
        command = f"{program} -m pip install --no-cache-dir --no-deps -r {file}"
        lines += [
            f"COPY {REQUIREMENTS} {file}",
            "# All of them are listed: what each of them needs, too.",
            f"RUN PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore {command}",
        ]
    if frozen.missed:
        lines += ["# Not in here, or not for sure:", *_comments(frozen.missed)]
    if places:
        lines += ["# Files that were changed by other means than pip are not in here:"]
        lines += _comments(places)
    return _text(lines)


def _comments(texts: Iterable[str]) -> Iterator[str]:
    return (f"# {text}" for text in texts)


def _one_line(text: Any) -> str:
    return " ".join(plain(str(text)).split())


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
