"""Our kernelspecs: which there are, and what is in them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from traitlets import Dict, List

from .config import Settings
from .reader import SETTING_ALIASES

_WORD = re.compile(r"--(?:Settings\.)?([\w-]+)=(.*)", re.DOTALL)
_NAMES = {alias: target.partition(".")[2] for alias, target in SETTING_ALIASES.items()}


@dataclass(frozen=True)
class Spec:
    """A kernelspec of ours. `settings` is what its command line has, as it stands there."""

    name: str
    display_name: str
    settings: dict[str, str | list[str]]
    folder: str
    python: str
    """The Python that runs it; "python" is that of Jupyter itself."""


def is_ours(argv: Sequence[str]) -> bool:
    """Whether a kernel with this command line is ours."""
    return any("docker_kernel" in word for word in argv)


def find_specs() -> list[Spec]:
    """Ours among the kernels that Jupyter finds here, by name."""
    from jupyter_client.kernelspec import KernelSpecManager

    found = []
    # Without the kernel that Jupyter makes up for this Python, where none is installed.
    for name, folder in KernelSpecManager(ensure_native_kernel=False).find_kernel_specs().items():
        try:
            spec = json.loads(Path(folder, "kernel.json").read_text(encoding="utf-8"))
            argv = [str(word) for word in spec["argv"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # Jupyter can't start it either
        if is_ours(argv):
            title = str(spec.get("display_name", name))
            found.append(Spec(name, title, settings_in(argv), str(folder), argv[0]))
    return sorted(found, key=lambda spec: spec.name)


def settings_in(argv: Sequence[str]) -> dict[str, str | list[str]]:
    """The settings on a kernel's command line; some may stand there more than once."""
    traits = Settings.class_traits(config=True)
    found: dict[str, str | list[str]] = {}
    for match in filter(None, map(_WORD.fullmatch, argv)):
        name = _NAMES.get(match[1], match[1])
        if isinstance(traits.get(name), (Dict, List)):
            found[name] = [*found.get(name, []), match[2]]
        elif name in traits:
            found[name] = match[2]
    return found
