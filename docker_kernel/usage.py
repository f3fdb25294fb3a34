"""What the container uses, as JupyterLab's display of resources asks for it."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from docker_kernel_server import messages as wire

from .errors import DockerKernelError
from .replies import server_status
from .session import Session

Content = dict[str, Any]

PATIENCE_SECONDS = 1.0
"""A server that takes longer isn't well; the control channel, where interrupts come, must go on."""


class Meter:
    """Makes the content of usage_reply. A percentage of CPU needs two looks, as with psutil."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}

    async def read(self, session: Session | None) -> Content:
        """The content, key for key as ipykernel has it; zeros where there is no sandbox yet."""
        client = session.ready if session else None
        if session is None or client is None:
            return nothing()
        try:
            call = client.request(wire.Status(client.new_id()))
            final = await asyncio.wait_for(asyncio.wrap_future(call.future), PATIENCE_SECONDS)
            status = server_status(final.result)
        except (DockerKernelError, asyncio.TimeoutError):
            return nothing()
        return self._content(status, session.name)

    def _content(self, status: Content, name: str) -> Content:
        # A server that runs by itself may be older, and not know of all this.
        limits, machine = status["limits"], status["machine"]
        mine: Content = next((line for line in status["sessions"] if line["name"] == name), {})
        cpus = limits.get("cpus_limit") or machine.get("cpus") or 1
        memory = virtual_memory(limits, machine)
        spent = {
            "kernel": mine.get("cpu_seconds") or 0.0,
            "container": limits.get("cpu_seconds") or 0.0,
            "clock": status["uptime"],
        }
        kernel_cpu, container_cpu = self._percent(spent)
        content = {
            "hostname": status["hostname"],
            "pid": mine.get("pid") or 0,
            "kernel_cpu": kernel_cpu,
            # Forked processes share memory, which is in the sum of theirs more than once.
            "kernel_memory": min(mine.get("memory") or 0, memory["used"] or memory["total"]),
            "cpu_count": cpus,
            "host_virtual_memory": memory,
        }
        if container_cpu is not None:
            content["host_cpu_percent"] = min(100.0, round(container_cpu / cpus, 1))
        return content

    def _percent(self, spent: dict[str, float]) -> tuple[float, float | None]:
        """CPU since the look before, in per cent of one: the kernel's, and the container's."""
        before, self._before = self._before, spent
        seconds = spent["clock"] - before.get("clock", spent["clock"])
        if seconds <= 0:  # the first look, or another server
            return 0.0, None
        kernel, container = (spent[key] - before[key] for key in ("kernel", "container"))
        return max(0.0, round(100 * kernel / seconds, 1)), max(0.0, 100 * container / seconds)


def virtual_memory(limits: Content, machine: Content) -> Content:
    """The container's memory in the words of psutil; file copies count as free, as in a machine."""
    total = limits.get("memory_limit") or machine.get("memory") or 0
    cache = limits.get("memory_cache") or 0
    used = max(0, (limits.get("memory") or 0) - cache)
    return {
        "total": total,
        "available": max(0, total - used),
        "percent": round(100 * used / total, 1) if total else 0.0,
        "used": used,
        "free": max(0, total - used - cache),
        "cached": cache,
    }


def nothing() -> Content:
    """There is no container to speak of; this process is not what the person wants to know of."""
    return {
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "kernel_cpu": 0.0,
        "kernel_memory": 0,
        "cpu_count": 0,
        "host_virtual_memory": dict.fromkeys(
            ("total", "available", "percent", "used", "free", "cached"), 0
        ),
    }
