"""What there is: the server and its sessions, as rows of a table."""

from __future__ import annotations

import time
from typing import Any

from docker_kernel_server import messages as wire

from ..client import Client
from ..config import Settings
from ..replies import server_status
from ..sandbox import Sandbox
from .table import Table

Json = dict[str, Any]

ANSWER_SECONDS = 10.0
"""How long a server may take to say how it is."""

STATUS_HEADING = ["where", "state", "server", "sessions", "memory"]

NO_LIMIT = "no limit"

_CHANGE = (
    "A cell can't change them. For the next kernel, set for instance DOCKER_KERNEL_MEMORY=4g in "
    "Jupyter's environment, or make a kernel with them: jupyter docker-kernel install --name big "
    "--memory 4g"
)


def ask_status(client: Client) -> Json:
    """What the server says of itself. Raises ConnectionLost, RequestRefused, TimeoutError."""
    return server_status(client.ask(wire.Status(client.new_id()), ANSWER_SECONDS))


def status_row(sandbox: Sandbox, otherwise: str = "not connected") -> list[str]:
    """A row below STATUS_HEADING; where there is no server, ``otherwise`` is its state."""
    client = sandbox.connected
    if client is None:
        return [sandbox.describe(), otherwise, "", "", ""]
    status = ask_status(client)
    limits = status["limits"]
    return [
        sandbox.describe(),
        f"up {_duration(status['uptime'])}",
        f"Python {status['python']}",
        str(len(status["sessions"])),
        _of(limits.get("memory"), limits.get("memory_limit")),
    ]


def session_row(session: Json) -> list[str]:
    """State and process of a session, from what the server says of it."""
    return ["busy" if session["busy"] else "idle", str(session["pid"] or "ended")]


def limits_table(settings: Settings, status: Json | None) -> Table:
    """What the container may use and uses; ``status`` is what the server says, None where there is
    none yet."""
    figures: Json = (status or {}).get("limits", {})
    if settings.resolved_mode() != "docker":
        return Table(
            ["of", "limit", "in use"],
            [row[:3] for row in _measured(figures, None)],
            ["There is no container of this kernel's own: whoever started the server set these."],
        )
    unmeasured = [
        ["its own disk", settings.disk_size or NO_LIMIT, "", "disk_size"],
        ["temporary files, and what pip installs", _tmp(settings), "", "tmp_size"],
        ["shared memory", settings.shm_size or "64m", "", "shm_size"],
        ["open files of a process", str(settings.nofile or "the engine's"), "", "nofile"],
        ["network", settings.network, "", "network"],
    ]
    return Table(
        ["of", "limit", "in use", "setting"],
        [*_measured(figures, settings), *unmeasured],
        [_CHANGE],
    )


def _measured(figures: Json, settings: Settings | None) -> list[list[str]]:
    memory = settings.memory_bytes() if settings else figures.get("memory_limit")
    pids = settings.pids if settings else figures.get("pids_limit")
    cpus = settings.cpus if settings else figures.get("cpus_limit")
    return [
        ["memory", _size(memory), _size(figures.get("memory"), ""), "memory"],
        ["processes and threads", str(pids or NO_LIMIT), str(figures.get("pids") or ""), "pids"],
        ["CPUs", f"{cpus:g}" if cpus else NO_LIMIT, "", "cpus"],
    ]


def _tmp(settings: Settings) -> str:
    size = settings.tmp_bytes()
    return f"{_size(size)}, in memory" if size else "on its own disk"


def _duration(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(seconds))


def _size(count: int | None, otherwise: str = NO_LIMIT) -> str:
    return f"{count >> 20} MiB" if count else otherwise


def _of(used: int | None, limit: int | None) -> str:
    if used is None:
        return ""
    return f"{_size(used, '0 MiB')} of {_size(limit)}" if limit else _size(used, "0 MiB")
