"""What the doctor finds: one finding for each thing that it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import DockerKernelError

Level = Literal["ok", "warning", "problem", "skipped"]

IDS = {
    "versions": "docker-kernel, Python, and the packages that they need",
    "kernels": "the kernels in Jupyter, and whether their Python is there",
    "settings": "values that can't work",
    "address": "what DOCKER_HOST and the Docker context name",
    "engine": "the engine: its kind, its version, whether it answers, and to this user",
    "exposed": "whether others can reach the engine",
    "limits": "the cgroups, and whether the engine can enforce limits",
    "disk": "room for images and containers",
    "clock": "the engine's clock against this machine's",
    "proxy": "proxies here, in the engine and in the container",
    "image": "whether the image is here",
    "runtime": "the volumes with what is lent to the image",
    "start": "a container as a kernel starts it",
    "folder": "whether the container sees this folder, and can write it",
    "port": "the way to its server",
    "authentication": "that both sides prove to know the secret",
    "python": "the container's Python, and its shell",
    "encoding": "UTF-8 in the container",
    "enforced": "the limits as they are seen in the container",
}
"""The ids, in the order of a report, and what each is about. Programs may rely on them."""


@dataclass(frozen=True)
class Finding:
    """What is; and where that isn't well, why it matters and what to type."""

    id: str
    """One of IDS."""
    level: Level
    what: str
    why: str = ""
    remedy: str = ""


def of_error(name: str, error: DockerKernelError) -> Finding:
    """The finding for what a cell would say, in the same words."""
    return Finding(name, "problem", error.what, error.why, error.remedy)
