"""Run the kernel: ``python -m docker_kernel -f CONNECTION_FILE``."""

import os
import sys

# See kernelspec.py. Nothing that isn't loaded yet may be imported before this.
sys.path[:] = [folder for folder in sys.path if folder not in ("", os.getcwd())]  # noqa: PTH109

from docker_kernel.launch import main  # noqa: E402

main()
