"""``docker-kernel install``: a kernelspec with settings of its own."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingError
from ..kernelspec import kernel_argv
from ..specs import is_ours
from .options import add_settings, given_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_NAME = "docker"
DEFAULT_DISPLAY_NAME = "Python 3 (Docker)"
LOGOS = ("logo-svg.svg", "logo-32x32.png", "logo-64x64.png")


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "install",
        help="make a kernel for Jupyter, with an image and settings of its own",
        description="Make a kernel for Jupyter. Several can stand side by side, each with an image "
        "of its own.",
        epilog="Example: docker-kernel install --name torch --display-name 'PyTorch (Docker)' "
        "--image pytorch/pytorch --memory 8g",
    )
    parser.add_argument("--help-all", action="help", help=argparse.SUPPRESS)
    parser.add_argument("--name", default=DEFAULT_NAME, help="the kernel's name. Default: docker.")
    parser.add_argument("--display-name", default="", help="what Jupyter's launcher shows.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for this user alone. The default.")
    where.add_argument("--sys-prefix", action="store_true", help="into this Python's environment.")
    where.add_argument("--prefix", default="", metavar="FOLDER", help="into FOLDER/share/jupyter.")
    parser.add_argument(
        "--replace", action="store_true", help="also where another kernel has this name already."
    )
    add_settings(parser)
    parser.set_defaults(run=install)


def install(options: argparse.Namespace) -> int:
    """Write the kernelspec, and say where it is and how to use it."""
    from jupyter_client.kernelspec import KernelSpecManager

    name = options.name.lower()
    # Not a dot in front: Jupyter removes what is in the way, and ".." would be all of its data.
    if not re.fullmatch(r"[a-z0-9_][a-z0-9._-]*", name):
        raise SettingError(
            f"{options.name!r} can't be a kernel's name",
            "it may have letters, digits, dots, dashes and underscores, and begins with no dot",
            "choose another --name; --display-name may have any characters",
        )
    arguments = given_settings(options)
    prefix = options.prefix or (sys.prefix if options.sys_prefix else None)
    if not options.replace:
        _refuse_others(name, prefix)
    display_name = options.display_name or _display_name(name)
    with tempfile.TemporaryDirectory() as folder:
        write_kernelspec(Path(folder), display_name, arguments)
        try:
            manager = KernelSpecManager()
            where = manager.install_kernel_spec(folder, name, user=prefix is None, prefix=prefix)
        except OSError as exc:
            raise SettingError(
                f"the kernel {name!r} can't be installed",
                f"{exc.strerror}: {exc.filename}",
                "install it for yourself alone (--user), or into a folder that you may write "
                "(--prefix)",
            ) from exc
    print(f"Installed the kernel {name!r} ({display_name}) in {where}")
    print(f"Use it: choose {display_name!r} in JupyterLab's launcher, or run")
    print(f"    jupyter execute --kernel_name={name} --inplace NOTEBOOK.ipynb")
    return 0


def write_kernelspec(folder: Path, display_name: str, arguments: Sequence[str]) -> None:
    """Write kernel.json and the logos for this very Python into ``folder``."""
    spec = {
        "argv": kernel_argv(arguments),
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False},
    }
    (folder / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
    for logo in _logos():
        shutil.copy(logo, folder)


def _display_name(name: str) -> str:
    return DEFAULT_DISPLAY_NAME if name == DEFAULT_NAME else f"Python 3 (Docker, {name})"


def _refuse_others(name: str, prefix: str | None) -> None:
    """Keep the kernels of others: a slip in --name must not cost the person one."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    manager = KernelSpecManager()
    # Jupyter need not look into the folder that is written to, nor look there first.
    folder = Path(prefix, "share/jupyter/kernels") if prefix else Path(manager.user_kernel_dir)
    for each in (KernelSpecManager(kernel_dirs=[str(folder.absolute())]), manager):
        with suppress(NoSuchKernel):
            spec = each.get_kernel_spec(name)
            if not is_ours(spec.argv):
                raise SettingError(
                    f"there is another kernel with the name {name!r}",
                    f"it is in {spec.resource_dir}",
                    "choose another --name, or add --replace",
                )


def _logos() -> list[Path]:
    """The logos: in the source tree, or where pip put the kernelspec of the package."""
    from jupyter_core.paths import jupyter_path

    folders = [Path(__file__).parents[2] / "kernelspec"]
    folders += [Path(folder) / DEFAULT_NAME for folder in jupyter_path("kernels")]
    for folder in folders:
        if all((folder / logo).is_file() for logo in LOGOS):
            return [folder / logo for logo in LOGOS]
    return []
