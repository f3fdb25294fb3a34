"""%%docker, %docker and %pip_docker: code of an ordinary kernel's cells, run in a container.

``%load_ext docker_kernel`` loads them. The cells of ``%%docker`` use the same client, the same
server and the same sessions as the docker kernel does.
"""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell

from .completion import CellCompleter
from .magics import DockerMagics
from .sandboxes import Sandboxes

_LOADED: dict[InteractiveShell, tuple[Sandboxes, CellCompleter]] = {}


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics. No container is started yet."""
    if shell in _LOADED:
        return
    sandboxes = Sandboxes(shell)
    completer = CellCompleter(sandboxes)
    shell.register_magics(DockerMagics(shell, sandboxes))
    completer.add_to(shell)
    _LOADED[shell] = (sandboxes, completer)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Stop the containers, and take the magics away."""
    sandboxes, completer = _LOADED.pop(shell)
    sandboxes.close()
    completer.remove_from(shell)
    for kind, name in [("cell", "docker"), ("line", "docker"), ("line", "pip_docker")]:
        shell.magics_manager.magics[kind].pop(name, None)
