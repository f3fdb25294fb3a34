"""A process that starts a kernel and stands for Jupyter's server; it is there to be killed.

    python tests/parent.py FOLDER ARGUMENT...

It prints a line when the kernel is started, and waits.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from kernels import Kernel


def main(folder: str, *arguments: str) -> None:
    """Start a kernel with these settings in the folder, and wait for the end."""
    kernel = Kernel(*arguments, folder=Path(folder))
    with kernel:
        print(f"{kernel.pid} {kernel.manager.connection_file}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
