"""The start of a zygote. Small, so that the server does this before it imports anything else:
IPython is imported in the one process while asyncio is in the other."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import List

# The package is loaded from where it lies, without its folder on sys.path: that may be the person's
# site-packages, or hold modules that would hide others. So may the working folder, which "-c" adds.
BOOTSTRAP = """\
import sys
sys.path[:] = [folder for folder in sys.path if folder]
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("docker_kernel_server", sys.argv[1])
sys.modules[spec.name] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from docker_kernel_server import zygote
zygote.main()
"""

REQUEST_BYTES = 1
"""What asks a zygote for a worker. Descriptors can't come alone."""


def command(python: str, control: int, lent: str, *attempt: str) -> List[str]:
    """The command line of a zygote; ``attempt`` is what an earlier one left: a way and a note."""
    package = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__init__.py")
    return [python, "-c", BOOTSTRAP, package, str(control), lent, *attempt]


class ZygoteProcess:
    """A zygote that was started. Owns the process, and the socket to ask it by."""

    def __init__(self, python: str, lent: str, workplace: str) -> None:
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = subprocess.Popen(
                    command(python, theirs.fileno(), lent),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    cwd=workplace,
                )
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        """End it. The workers have their keepers."""
        self.socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
