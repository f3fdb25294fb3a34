"""``docker-kernel config``: the settings in force, and files to begin with."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from traitlets.config import Config
from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

from ..config import Settings
from ..errors import SettingError
from ..reader import SettingsReader
from ..sources import CONFIG_NAME, ENV_PREFIX, SECTION
from .options import add_settings, setting_words
from .table import lines
from .templates import TEMPLATES, defaults, template


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "config",
        help="show the settings and where each comes from; print a file to begin with",
        description="Show each setting with its value and where it comes from: what a kernel would "
        "find that is started now, here, and with the settings that are given. Or print a "
        "configuration file with comments.",
        epilog=f"Example: docker-kernel config --template production > ~/.jupyter/{CONFIG_NAME}.py",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--show", action="store_true", help="show the settings. The default.")
    what.add_argument(
        "--template", choices=list(TEMPLATES), help="print a configuration file of this kind."
    )
    parser.add_argument("--json", action="store_true", help="show them to a program.")
    add_settings(parser)
    parser.set_defaults(run=config)


def config(options: argparse.Namespace) -> int:
    """Print. Returns the exit code."""
    if options.template:
        print(template(options.template), end="")
        return 0
    reader = SettingsReader()
    settings = Settings.load(reader.read(setting_words(options)), reader.cli_config)
    files = [(file, _section(file)) for file in reader.loaded_config_files]
    shown = [_described(settings, name, files) for name in sorted(settings.traits(config=True))]
    if options.json:
        said = {"settings": shown, "files": [file for file, _ in files], "notes": settings.notices}
        print(json.dumps(said, indent=1))
        return 0
    rows = [[item["name"], _shown(item["value"]), _whence(item)] for item in shown]
    print("\n".join(lines(["SETTING", "VALUE", "FROM"], rows)))
    for note in settings.notices:
        print(f"docker-kernel: {note}", file=sys.stderr)
    return 0


def _described(settings: Settings, name: str, files: list[tuple[str, Config]]) -> dict[str, Any]:
    """A setting: its value, and where that comes from. `files` is the weakest first."""
    trait = settings.traits()[name]
    origin = settings.origins.get(name, "")
    source, where = "default", origin
    if origin.startswith("--"):
        source = "command line"
    elif origin.startswith("c.Pinned."):
        source, where = "pinned", origin.partition(" in ")[2]
    elif origin.startswith("c."):
        source = "file"
        where = next((file for file, found in reversed(files) if name in found), origin)
    elif origin:
        source = "environment"
    return {
        "name": name,
        "value": getattr(settings, name),
        "source": source,
        "where": where,
        "default": trait.default(),
        "environment": ENV_PREFIX + name.upper(),
        "help": str(trait.help),
    }


def _section(file: str) -> Config:
    """The settings in one of the files, which were read without an error before."""
    path = Path(file)
    kind = JSONFileConfigLoader if path.suffix == ".json" else PyFileConfigLoader
    return Config(kind(path.name, path=str(path.parent)).load_config().get(SECTION, {}))


def _shown(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    return str(value) if value != "" else "-"


def _whence(item: dict[str, Any]) -> str:
    if item["source"] == "pinned":
        return f"pinned by {item['where']}"
    return f"{item['source']} ({item['where']})" if item["where"] else str(item["source"])


def generate(_options: argparse.Namespace) -> int:
    """Write a configuration file that sets nothing yet. Returns the exit code."""
    from jupyter_core.paths import jupyter_config_dir

    path = Path(jupyter_config_dir(), f"{CONFIG_NAME}.py")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(defaults())
    except FileExistsError as exc:
        raise SettingError(
            f"{path} is not written", "it is there already", "move it away first, or edit it"
        ) from exc
    except OSError as exc:
        raise SettingError(
            f"{path} can't be written",
            exc.strerror or str(exc),
            "set JUPYTER_CONFIG_DIR to a folder that you may write",
        ) from exc
    print(f"Wrote {path}: take away the # before what you want to set")
    return 0
