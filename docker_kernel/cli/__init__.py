"""The command ``docker-kernel``, also reached as ``jupyter docker-kernel``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from docker_kernel_server import __version__

from ..errors import DockerKernelError
from . import install, prune, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 for success, 1 for an error, 2 for wrong usage."""
    options = make_parser().parse_args(argv)
    try:
        return int(options.run(options))
    except DockerKernelError as exc:
        print(f"docker-kernel: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("docker-kernel: interrupted", file=sys.stderr)
        return 130


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    called = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog="jupyter docker-kernel" if called.startswith("jupyter") else "docker-kernel",
        description="Python for Jupyter whose code runs in a Docker container.",
        epilog="`%(prog)s VERB --help` tells more of each verb.",
    )
    parser.add_argument("--version", action="version", version=f"docker-kernel {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    install.add_to(verbs)
    run.add_to(verbs)
    prune.add_to(verbs)
    return parser
