"""Run the kernel: ``python -m docker_kernel -f CONNECTION_FILE``."""

from docker_kernel.launch import main

main()
