# PYTHON_ARGCOMPLETE_OK
"""The command ``docker-kernel``, also reached as ``jupyter docker-kernel``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from docker_kernel_server import __version__

from ..errors import DockerKernelError
from . import (
    build,
    config,
    doctor,
    exec_,
    install,
    list_,
    logs,
    prune,
    ps,
    pull,
    run,
    stop,
    uninstall,
)
from .helping import HelpAll, meant, verbs_of

EXIT_CODES = {
    0: "done",
    1: "it could not be done, and the message says why and what to type; `run`: a cell raised",
    2: "the command line is wrong",
    124: "`run` of a script or code: the time that --timeout gives it was over",
    125: "`exec`, and `run` of a script or code: the container or the engine can't be used, or it "
    "could not be begun",
    126: "`exec` alone: the command can't be executed, or an older engine doesn't find it",
    127: "`exec` alone: there is no such command in the container",
    130: "interrupted with Ctrl-C",
    141: "who reads the output has hung up, as `head` does",
}
"""What each means, but `exec` and `run` give a program's own. docs/commands.md has this, too."""

VERBS = (install, uninstall, list_, run, ps, logs, exec_, stop, prune, pull, build, config, doctor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code, one of EXIT_CODES."""
    for stream in (sys.stdout, sys.stderr):
        # A Windows pipe, or LC_ALL=C, may know few characters; names of files may hold none.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = make_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell wants to complete a line
        import argcomplete

        argcomplete.autocomplete(parser)
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        verb = options.parser if hasattr(options, "parser") else parser
        verb.error(f"unrecognized arguments: {' '.join(unknown)}{meant(unknown, verb)}")
    if options.generate_config:
        options.run = config.generate
    elif not hasattr(options, "run"):
        parser.error("which VERB?")
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except DockerKernelError as exc:
        print(f"docker-kernel: {exc}", file=sys.stderr)
        return int(getattr(options, "failure", 1))
    except KeyboardInterrupt:
        print("docker-kernel: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Or Python tries once more at its end, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    called = Path(sys.argv[0]).name
    codes = "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="jupyter docker-kernel" if called.startswith("jupyter") else "docker-kernel",
        description="Python for Jupyter whose code runs in a Docker container.",
        epilog=f"exit codes:\n{codes}\n\n`%(prog)s VERB --help` tells more of each verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"docker-kernel {__version__}")
    parser.add_argument(
        "--help-all", action=HelpAll, help="show the help of all verbs, and all settings."
    )
    parser.add_argument(
        "--generate-config",
        action="store_true",
        help="write a docker_kernel_config.py with all settings to Jupyter's config folder.",
    )
    verbs = parser.add_subparsers(metavar="VERB")
    for verb in VERBS:
        verb.add_to(verbs)
    for found in verbs_of(parser).values():
        found.set_defaults(parser=found)
    return parser
