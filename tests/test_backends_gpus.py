"""What the setting `gpus` means, by what an engine says of itself (E6)."""

from __future__ import annotations

from typing import Any

import pytest

from docker_kernel.backends.gpus import device_requests
from docker_kernel.errors import SettingError

NOTHING: dict[str, Any] = {"Runtimes": {"runc": {}}}
RUNTIME: dict[str, Any] = {"Runtimes": {"runc": {}, "nvidia": {}}, "DiscoveredDevices": None}
DEVICES = ["nvidia.com/gpu=1", "nvidia.com/gpu=0", "nvidia.com/gpu=all", "vendor.org/net=0"]
CDI: dict[str, Any] = {
    **NOTHING,
    "DiscoveredDevices": [{"Source": "cdi", "ID": i} for i in DEVICES],
}


def gpus(**keys: Any) -> list[dict[str, Any]]:
    return [{"Capabilities": [["gpu"]], **keys}]


def cdi(*names: str) -> list[dict[str, Any]]:
    return [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={name}" for name in names]}]


@pytest.mark.parametrize(
    ("wanted", "info", "expected"),
    [
        ("", RUNTIME, []),
        ("auto", NOTHING, []),
        ("auto", {}, []),
        ("auto", RUNTIME, gpus(Count=-1)),
        ("auto", CDI, cdi("all")),
        ("all", RUNTIME, gpus(Count=-1)),
        ("2", RUNTIME, gpus(Count=2)),
        ("device=0,GPU-3a5f", RUNTIME, gpus(DeviceIDs=["0", "GPU-3a5f"])),
        # Where it says nothing of GPUs it is asked all the same: it may know better.
        ("all", NOTHING, gpus(Count=-1)),
        ("all", CDI, cdi("all")),
        ("1", CDI, cdi("0")),
        ("2", CDI, cdi("0", "1")),
        ("device=1", CDI, cdi("1")),
        ("all", {**CDI, **RUNTIME, "DiscoveredDevices": CDI["DiscoveredDevices"]}, gpus(Count=-1)),
    ],
)
def test_what_is_asked_for(
    wanted: str, info: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    assert device_requests(wanted, info) == expected


def test_more_than_there_are() -> None:
    with pytest.raises(SettingError, match="the engine has 2 GPUs"):
        device_requests("3", CDI)
