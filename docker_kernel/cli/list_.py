"""``docker-kernel list``: the kernels of ours that Jupyter has."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ..specs import Spec, find_specs
from .table import lines


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "list",
        help="list the kernels that were made with install",
        description="List the kernels of ours that Jupyter finds: name, title, the settings that "
        "they were made with, and the folder of each. `docker-kernel ps` lists their containers.",
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object.")
    parser.set_defaults(run=list_specs)


def list_specs(options: argparse.Namespace) -> int:
    """Print them. Returns the exit code."""
    found = find_specs()
    if options.json:
        print(json.dumps({"kernels": [asdict(spec) for spec in found]}, indent=1))
    elif not found:
        print("There are none yet. To make one: docker-kernel install")
    else:
        rows = [[spec.name, spec.display_name, _settings(spec), spec.folder] for spec in found]
        print("\n".join(lines(["NAME", "TITLE", "SETTINGS", "FOLDER"], rows)))
    return 0


def _settings(spec: Spec) -> str:
    words = []
    for name, value in spec.settings.items():
        words += [f"{name}={item}" for item in (value if isinstance(value, list) else [value])]
    return " ".join(words) or "-"
