"""TCP ports on 127.0.0.1 that nobody takes between their choice and their use.

A port that the system has picked for a test is anybody's as soon as it is closed: with a few test
processes, each of which starts kernels with five ports, two of them meet now and then. So these are
below those that the system picks, and each process has its own.
"""

from __future__ import annotations

import itertools
import os
import socket

from jupyter_client.manager import KernelManager

FIRST, LAST = 10_000, 32_000
_KERNEL = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
_numbers = itertools.cycle(range(FIRST, LAST))
# A hundred apart for processes that were started one after another.
next(itertools.islice(_numbers, os.getpid() * 100 % (LAST - FIRST), None))


def spare_port() -> int:
    """A port that nothing listens on just now."""
    for port in itertools.islice(_numbers, LAST - FIRST):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("all ports are taken")


def choose_ports(manager: KernelManager) -> None:
    """Let a kernel have such ports, before it is started."""
    manager.cache_ports = False
    for name in _KERNEL:
        setattr(manager, name, spare_port())
