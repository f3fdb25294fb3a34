"""A network bridge for a throw-away dockerd, with firewall rules that touch nobody else's.

dockerd can make both itself, but a dockerd that starts flushes the rules of every other one on the
machine, and their published ports go dark. So it runs with --iptables=false, and the three rules
that give containers an outward way are set here. Ports published on 127.0.0.1 need none: the
engine's own proxy serves them.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import shlex
from pathlib import Path

from system import CannotError, system_run

CANDIDATES = [ipaddress.ip_network(f"10.213.{third}.0/24") for third in range(256)]


class Bridge:
    """One bridge, named after a folder; `name` is the network interface's."""

    def __init__(self, folder: Path) -> None:
        # An interface's name has room for 15 bytes.
        self.name = "dk" + hashlib.sha256(str(folder).encode()).hexdigest()[:8]

    def create(self) -> None:
        """Make it afresh, with a range of addresses that is free. Raises CannotError."""
        self.remove()
        subnet = free_subnet()
        system_run("ip", "link", "add", "name", self.name, "type", "bridge")
        system_run("ip", "addr", "add", f"{subnet[1]}/{subnet.prefixlen}", "dev", self.name)
        system_run("ip", "link", "set", self.name, "up")
        for rule in self._rules(str(subnet)):
            system_run("iptables", "--wait", *rule, "-m", "comment", "--comment", self.name)

    def remove(self) -> None:
        """Take it away with its rules, if it is there."""
        for table in ("nat", "filter"):
            with contextlib.suppress(CannotError, FileNotFoundError):
                for line in system_run("iptables", "--wait", "-t", table, "-S").splitlines():
                    words = shlex.split(line)
                    if self.name in words and words[0] == "-A":
                        system_run("iptables", "--wait", "-t", table, "-D", *words[1:])
        with contextlib.suppress(CannotError, FileNotFoundError):
            system_run("ip", "link", "delete", self.name)

    def _rules(self, subnet: str) -> list[list[str]]:
        outward = ["-t", "nat", "-A", "POSTROUTING", "-s", subnet, "!", "-o", self.name]
        answers = ["-I", "FORWARD", "-o", self.name, "-m", "conntrack"]
        return [
            [*outward, "-j", "MASQUERADE"],
            # Put first: other engines close the FORWARD chain to what they don't know.
            ["-I", "FORWARD", "-i", self.name, "-j", "ACCEPT"],
            [*answers, "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
        ]


def free_subnet() -> ipaddress.IPv4Network:
    """A range that no route of this machine leads to. Raises CannotError."""
    routes = json.loads(system_run("ip", "-json", "-4", "route", "show", "table", "all"))
    targets = [route["dst"] for route in routes if route["dst"] != "default"]
    taken = [ipaddress.ip_network(target, strict=False) for target in targets]
    for candidate in CANDIDATES:
        if isinstance(candidate, ipaddress.IPv4Network) and not any(
            candidate.overlaps(used) for used in taken if used.version == 4
        ):
            return candidate
    raise CannotError("no range of addresses is free for the engine's bridge")
