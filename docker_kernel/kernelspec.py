"""How Jupyter starts the kernel."""

from __future__ import annotations

import sys
from collections.abc import Sequence

# Jupyter starts kernels in the notebook's folder, and cells write files there: no module of that
# folder may be imported on this machine. (-P does this too, but only since Python 3.11.) By its
# name the folder stands there where PYTHONPATH has an empty part: PYTHONPATH=$PYTHONPATH:/more.
START = (
    "import os, sys; sys.path[:] = [x for x in sys.path if x not in ('', os.getcwd())]; "
    "from docker_kernel.launch import main; main()"
)


def kernel_argv(arguments: Sequence[str] = (), python: str = sys.executable) -> list[str]:
    """The command line of a kernel with these arguments, as a kernelspec has it."""
    return [python, "-c", START, "-f", "{connection_file}", *arguments]
