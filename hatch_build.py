"""Ships container/tcp_server.py, which starts the server in a container, inside its package.

In the source tree it stands beside the package. In a wheel it would be a top-level module of
site-packages there, so it goes inside; docker_kernel.runtime knows both places. An editable install
must not have it: the folder made for it would hide the package that is being edited, which is why
this isn't a plain force-include in pyproject.toml.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TcpServerHook(BuildHookInterface):
    """Adds one file to a wheel that is no editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build."""
        if version != "editable":
            script = "docker_kernel_server/tcp_server.py"
            build_data["force_include"]["container/tcp_server.py"] = script
