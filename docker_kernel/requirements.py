"""What is to be installed into an image: packages, requirements files, a conda environment.

Reads files of this machine, and makes of them files for an image: what they name is brought along,
and what can't be is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .errors import SettingError

FOLDER = "/usr/local/share/docker-kernel"
"""Where the files are in the image."""

PIP_FILE = "requirements.txt"
CONDA_FILE = "environment.yml"
MAX_BYTES = 512 << 20
"""The most of local packages that is brought along; it is held in memory."""

_OTHER_FILE = re.compile(r"(-r|-c|--requirement|--constraint)(?:\s*=\s*|\s*)(\S.*?)\s*(?:\s#.*)?$")
_FROM_HERE = re.compile(r"(-e|--editable|-f|--find-links)\b[\s=]*(\S+)")
_LOCAL = re.compile(r"(?:[\w.\[\],-]+\s*@\s*)?(file:\S+|[^\s;]+)(.*)", re.DOTALL)
_ARCHIVE = (".whl", ".tar.gz", ".zip", ".tar.bz2")
_PASSWORD = re.compile(r"(?:(?<=http)|(?<=https))://[^/\s@]+@|://[^/\s@:]+:[^/\s@]+@")
"""In an address. A user alone, as in ssh://git@HOST, is none; with http it is mostly a token."""

_CONDA = re.compile(r"([\w.-]+)\s*(.*)")


@dataclass
class Wanted:
    """What to install, as files for the image, beside one another."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By name. The first requirements file is PIP_FILE, and CONDA_FILE where conda has to do it."""
    python: str = ""
    """Which version an environment asks for, as in `Requires-Python`; "" for any."""
    conda: list[str] = field(default_factory=list)
    """What conda alone can install."""
    name: str = ""
    """An environment's."""
    _lines: list[str] = field(default_factory=list)
    _seen: dict[Path, str] = field(default_factory=dict)
    _bytes: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to install."""
        return not self.files

    def add_packages(self, packages: Iterable[str]) -> None:
        """Add what is named as for `pip install`. Raises SettingError."""
        self._add([self._line(text, Path()) for text in packages])

    def add_file(self, path: Path) -> None:
        """Add a requirements file, or a conda environment (.yml). Raises SettingError."""
        if path.suffix in (".yml", ".yaml"):
            self._add_environment(path)
        else:
            self._add(self._read(path))

    def _add(self, lines: list[str]) -> None:
        self._lines += lines
        if self._lines:
            self.files[PIP_FILE] = _text(self._lines)

    # -- requirements files

    def _read(self, path: Path) -> list[str]:
        text = _contents(path).decode("utf-8-sig", "replace")
        return [self._line(line, path.parent) for line in text.splitlines()]

    def _line(self, line: str, folder: Path) -> str:
        """The line as it must be in the image. Raises SettingError."""
        text = line.strip()
        if not text or text.startswith("#"):
            return line
        if _PASSWORD.search(text):
            raise SettingError(
                f"there is a password in {_PASSWORD.sub('://…@', text)!r}",
                "it would be in the image, for all who get that",
                "use an index that needs none; or install in a kernel, and keep that as an image "
                "with docker commit",
            )
        other = _OTHER_FILE.match(text)
        if other and "://" not in other[2]:
            return f"{other[1]} {self._another(folder / other[2].strip())}"
        if here := _FROM_HERE.match(text):
            if "://" in here[2]:
                return line
            raise SettingError(
                f"{text!r} can't be installed into an image",
                "it is a folder of this machine",
                f"make a wheel, and name that: pip wheel --no-deps {here[2]}",
            )
        return self._package(line, text, folder)

    def _another(self, path: Path) -> str:
        """The name, beside the first one, of a further requirements file."""
        path = path.resolve()
        if path not in self._seen:
            name = self._seen[path] = f"{len(self._seen) + 1}-{path.name}"
            self.files[name] = _text(self._read(path))
        return self._seen[path]

    def _package(self, line: str, text: str, folder: Path) -> str:
        """The line with a package; a local one is brought along."""
        match = _LOCAL.match(text)
        where = match[1] if match else ""
        if "://" in where and not where.startswith("file:"):
            return line
        path = Path(url2pathname(urlsplit(where).path) if where.startswith("file:") else where)
        local = where.startswith((".", "/", "file:", "~")) or PurePath(where).is_absolute()
        local = local or where.lower().endswith(_ARCHIVE)
        if match is None or not local:
            return line
        # pip takes it from the current folder; beside the file is where most people look for it.
        found = next((p for p in (path.expanduser(), folder / path) if p.exists()), path)
        if found.is_dir():
            raise SettingError(
                f"{text!r} can't be installed into an image",
                "it is a folder of this machine",
                f"make a wheel, and name that: pip wheel --no-deps {where}",
            )
        name = f"packages/{len(self.files) + 1}/{found.name}"
        self.files[name] = _contents(found)
        self._bytes += len(self.files[name])
        if self._bytes > MAX_BYTES:
            raise SettingError(
                f"the local packages have more than {MAX_BYTES >> 20} MB",
                "they would be held in memory on their way",
                "put the large ones on an index, or into an image to begin with (--base)",
            )
        return f"{FOLDER}/{name}{match[2]}"

    # -- environments

    def _add_environment(self, path: Path) -> None:
        name, channels, dependencies = _parse_environment(path)
        self.name = self.name or name
        for item in dependencies:
            if isinstance(item, dict):
                self._add([self._line(str(text), path.parent) for text in item.get("pip") or []])
                continue
            match = _CONDA.match(str(item).strip())
            package = match[1].lower() if match else ""
            if match and package == "python":
                self.python = _python_version(match[2])
            elif package != "pip":
                self.conda.append(str(item))
        if self.conda:
            import yaml

            made = {"channels": channels, "dependencies": self.conda}
            self.files[CONDA_FILE] = yaml.safe_dump(made).encode()


def _parse_environment(path: Path) -> tuple[str, list[Any], list[Any]]:
    """Name, channels and dependencies. Raises SettingError."""
    import yaml

    remedy = "write it as `conda env export` does: name, channels, dependencies"
    try:
        found = yaml.safe_load(_contents(path))
    except yaml.YAMLError as exc:
        raise SettingError(f"the environment {path} is no YAML", str(exc), remedy) from exc
    parts = found if isinstance(found, dict) else {}
    channels, dependencies = parts.get("channels") or [], parts.get("dependencies")
    if not isinstance(dependencies, list) or not isinstance(channels, list):
        raise SettingError(f"the environment {path} has no list of dependencies", "", remedy)
    if _PASSWORD.search(str(channels)) or "/t/" in str(channels):
        raise SettingError(
            f"the environment {path} has a channel with a password or a token",
            "it would be in the image, for all who get that",
            "use a channel that needs none",
        )
    return str(parts.get("name") or ""), channels, dependencies


def _python_version(text: str) -> str:
    """A version as conda names it, in pip's way: =3.11, 3.11.* and ==3.11 mean all of 3.11."""
    text = text.strip().split(" ")[0]
    if text.startswith((">", "<", "!", "~")) or not text:
        return text
    # A build stands behind a further "=".
    number = text.lstrip("=").split("=")[0]
    return f"=={number}" if number.endswith("*") else f"=={number}.*"


def _contents(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as exc:
        raise SettingError(
            f"{path} can't be read", exc.strerror or str(exc), "name a file that is there"
        ) from exc


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
