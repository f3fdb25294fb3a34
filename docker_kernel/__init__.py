"""A Jupyter kernel whose code runs in a Docker container."""

from docker_kernel_server import __version__

from .config import Settings
from .errors import DockerKernelError
from .sandbox import Sandbox

__all__ = ["DockerKernelError", "Sandbox", "Settings", "__version__"]
