"""The settings as options of a command, made from the traits: what is a setting is an option."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from traitlets import Bool, Dict, Enum, Float, Integer, TraitType

from ..config import Settings, Texts
from ..reader import SETTING_ALIASES, SettingsReader
from .choosing import complete_containers, complete_images

TITLE = "settings"
_PREFIX = "setting_"
_FILES = ("extra_ca", "seccomp", "secret_file")
"""The settings that name a file of this machine."""

_COMPLETERS = {"container": complete_containers, "image": complete_images}


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting, --NAME or --Settings.NAME."""
    # The usage without them: there are many.
    own = parser.format_usage().partition(": ")[2].rstrip().replace("%", "%%")
    parser.usage = f"{own} [--SETTING VALUE ...]"
    group = parser.add_argument_group(
        TITLE,
        "Each is also read from the environment (--image: DOCKER_KERNEL_IMAGE) and from "
        "docker_kernel_config.py in Jupyter's config folder.",
    )
    traits = Settings.class_traits(config=True)
    for alias, target in SETTING_ALIASES.items():
        name = target.partition(".")[2]
        option = group.add_argument(
            f"--{alias}", f"--{target}", dest=_PREFIX + name, **_look(traits[name])
        )
        if completer := _COMPLETERS.get(name):
            option.completer = completer  # type: ignore[attr-defined]


def given_settings(options: argparse.Namespace) -> list[str]:
    """What was given, checked, as arguments for a kernelspec's argv. Raises SettingError."""
    reader = SettingsReader()
    reader.parse_command_line(setting_words(options))
    # Without the environment and the config files: they are read again when the kernel starts.
    settings = Settings.load(None, reader.cli_config, environ={}, pins={})
    for name in _FILES:
        if path := getattr(settings, name):
            # It was found from here; the kernel starts elsewhere, in its notebook's folder.
            setattr(settings, name, str(Path(path).expanduser().absolute()))
    return settings.as_arguments()


def setting_words(options: argparse.Namespace) -> list[str]:
    """What was given, as it stands there, in words for a `SettingsReader`."""
    words = []
    for name, value in vars(options).items():
        if name.startswith(_PREFIX) and value is not None:
            for item in value if isinstance(value, list) else [value]:
                words.append(f"--Settings.{name[len(_PREFIX) :]}={item}")
    return words


def _look(trait: TraitType[Any, Any]) -> dict[str, Any]:
    help_text = str(trait.help).replace("%", "%%")
    if not isinstance(trait, (Dict, Texts)) and trait.default() not in ("", 0):
        help_text += f" Default: {trait.default()}."
    if isinstance(trait, Enum):
        return {"help": help_text, "choices": [value for value in trait.values or [] if value]}
    if isinstance(trait, Dict):
        return {"help": help_text, "action": "append", "metavar": "NAME=VALUE"}
    if isinstance(trait, Texts):
        return {"help": help_text, "action": "append", "metavar": "TEXT"}
    if isinstance(trait, Bool) and not trait.default():
        return {"help": help_text, "action": "store_const", "const": "True"}
    if isinstance(trait, Bool):
        return {"help": help_text, "choices": ["True", "False"]}
    return {
        "help": help_text,
        "metavar": "NUMBER" if isinstance(trait, (Float, Integer)) else "TEXT",
    }
