"""Settings that an administrator has pinned: nobody who uses this machine changes them.

``c.Pinned.NAME = VALUE`` in a docker_kernel_config.py or .json in the system's own Jupyter folders.
Those folders are named here and nowhere else: where the environment, the command line, a virtual
environment or a person's own files say that Jupyter's folders are, doesn't count.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets.config import Config
from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

from .errors import SettingError

FOLDERS = (Path("/usr/local/etc/jupyter"), Path("/etc/jupyter"))
"""Where pinned settings stand; what the first says counts. There are none on Windows."""

SECTION = "Pinned"
NAMES = ("docker_kernel_config.json", "docker_kernel_config.py")

_ASK = "only who administers this machine can mend it"


@dataclass(frozen=True)
class Pin:
    """A setting's value, and the file that pins it."""

    value: Any
    file: Path

    def origin(self, name: str) -> str:
        """Where it stands, as other settings' origins are told."""
        return f"c.{SECTION}.{name} in {self.file}"


def read_pins(config: Config | None = None) -> Mapping[str, Pin]:
    """What is pinned, by the settings' names; ``config`` is what all of Jupyter's files say.

    Raises SettingError for a file that can't be read, or that others than root could write, and for
    pins that stand elsewhere: a rule that is there is never left out without a word.
    """
    pins: dict[str, Pin] = {}
    for file in _files():
        for name, value in _read(file).items():
            pins.setdefault(name, Pin(value, file))
    for name in config.get(SECTION, {}) if config is not None else ():
        if name not in pins:
            raise SettingError(
                f"c.{SECTION}.{name} pins nothing where it stands",
                f"only files in {' and '.join(map(str, FOLDERS))} do, and these don't have it",
                f"write c.Settings.{name} there",
            )
    return pins


def _files() -> Iterator[Path]:
    for folder in FOLDERS if os.name == "posix" else ():
        for name in NAMES:
            file = folder / name
            if os.path.lexists(file):
                yield file


def _read(file: Path) -> Config:
    """The section of a file."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise SettingError(
            f"{file} can't be read", exc.strerror or str(exc), f"{_ASK}: chmod a+r {file}"
        ) from exc
    if SECTION not in text:
        return Config()
    if weak := _weak(file):
        raise SettingError(
            f"{file} pins settings, and isn't safe",
            f"{weak} belongs to another than root, or others may write it",
            f"{_ASK}: chown root {weak}; chmod go-w {weak}",
        )
    kind = JSONFileConfigLoader if file.suffix == ".json" else PyFileConfigLoader
    try:
        found = kind(file.name, path=str(file.parent)).load_config().get(SECTION, {})
    except (Exception, SystemExit) as exc:  # whatever a program can raise
        raise SettingError(f"{file} can't be read", str(exc), _ASK) from exc
    return Config(found)


def _weak(file: Path) -> Path | None:
    """The file or folder, of those on the way to a file, that another than root could change."""
    for path in (file.resolve(), file):
        for part in (path, *path.parents):
            state = part.stat()
            # In a folder such as /tmp, nobody renames what belongs to another.
            others = state.st_mode & 0o022 and not (part != path and state.st_mode & stat.S_ISVTX)
            if state.st_uid != 0 or others:
                return part
    return None
