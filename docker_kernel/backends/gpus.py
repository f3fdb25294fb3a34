"""Which GPUs a container gets: what the setting `gpus` means to this engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks import parse_gpus
from ..errors import SettingError

REMEDY = (
    "install NVIDIA's driver and its Container Toolkit on the engine's machine, and restart the "
    "engine; this must show the GPUs: docker run --rm --gpus all ubuntu nvidia-smi; or go without "
    "where there are none: DOCKER_KERNEL_GPUS=auto"
)
NO_GPUS_HERE = (
    "The container has no GPU: the engine knows of none, and DOCKER_KERNEL_GPUS=auto goes without "
    "then. DOCKER_KERNEL_GPUS=all insists, and says what is missing."
)

_RUNTIME = "nvidia"
_CDI = "nvidia.com/gpu="
"""How the Container Device Interface names NVIDIA's GPUs."""


def device_requests(wanted: str, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What to ask of the engine that says this of itself; [] for nothing. Raises SettingError."""
    if not wanted or (wanted == "auto" and not _has_gpus(info)):
        return []
    count, names = parse_gpus("gpus", wanted)
    if _has_runtime(info) or not _cdi_devices(info):
        # Also where the engine says nothing: it may know better when the container starts.
        request: dict[str, Any] = {"Capabilities": [["gpu"]]}
        return [{**request, "DeviceIDs": names} if names else {**request, "Count": count}]
    return [{"Driver": "cdi", "DeviceIDs": _cdi_names(count, names, info)}]


def _cdi_names(count: int, names: list[str], info: Mapping[str, Any]) -> list[str]:
    found = [name for name in _cdi_devices(info) if name[len(_CDI) :].isdigit()]
    if names:
        return [f"{_CDI}{name}" for name in names]
    if count < 0:
        return [f"{_CDI}all"]
    if count > len(found):
        raise SettingError(
            f"gpus is {count}",
            f"the engine has {len(found)} GPUs",
            "ask for fewer of them, or for all: DOCKER_KERNEL_GPUS=all",
        )
    return found[:count]


def _has_gpus(info: Mapping[str, Any]) -> bool:
    return _has_runtime(info) or bool(_cdi_devices(info))


def _has_runtime(info: Mapping[str, Any]) -> bool:
    return _RUNTIME in (info.get("Runtimes") or {})


def _cdi_devices(info: Mapping[str, Any]) -> list[str]:
    """NVIDIA's GPUs by their names, where the engine tells of them (Docker from 28.2 on)."""
    devices = [str(item.get("ID")) for item in info.get("DiscoveredDevices") or []]
    return sorted(name for name in devices if name.startswith(_CDI))
