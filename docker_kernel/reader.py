"""Settings on a command line and in Jupyter's config files, as every program of ours reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jupyter_core.paths import jupyter_config_path
from traitlets import Bool
from traitlets.config import Application, Config

from .config import Settings
from .errors import SettingError
from .sources import CONFIG_NAME

_OTHER_NAMES = {
    # For everything that installs into Jupyter, --user means the user's own folder.
    "user": "container-user",
    "host": "connect",
}

SETTING_ALIASES = {
    _OTHER_NAMES.get(name, name.replace("_", "-")): f"Settings.{name}"
    for name in Settings.class_traits(config=True)
}
"""A short form for each setting: --image, --memory, --start-timeout …"""

SETTING_FLAGS = {
    **{
        name.replace("_", "-"): ({"Settings": {name: True}}, str(trait.help))
        for name, trait in Settings.class_traits(config=True).items()
        if isinstance(trait, Bool) and not trait.default()
    },
    "no-mount-workspace": (
        {"Settings": {"mount_workspace": False}},
        "Let the container see no folder of this machine.",
    ),
}


def _files() -> Iterator[Path]:
    """The config files that there are."""
    for folder in jupyter_config_path():
        for kind in (".py", ".json"):
            if (path := Path(folder, f"{CONFIG_NAME}{kind}")).is_file():
                yield path


class SettingsReader(Application):
    """Reads settings from a command line and from Jupyter's config files; runs nothing."""

    name = "docker-kernel"
    classes = [Settings]  # noqa: RUF012
    aliases = {**SETTING_ALIASES, "f": "IPKernelApp.connection_file"}  # noqa: RUF012
    flags = SETTING_FLAGS
    raise_config_file_errors = True

    def read(self, argv: list[str]) -> Config:
        """The whole config, the command line over the files. `cli_config` is the first alone.

        Raises SettingError.
        """
        remedy = "correct it; `jupyter --paths` shows the folders of the config files"
        try:
            self.parse_command_line(list(self._ours(argv)))
        except SystemExit as exc:  # traitlets has printed why
            raise SettingError("the command line can't be read", " ".join(argv), remedy) from exc
        try:
            self.load_config_file(CONFIG_NAME, path=jupyter_config_path())
        except Exception as exc:
            which = " or ".join(map(str, _files())) or f"a file {CONFIG_NAME}"
            raise SettingError(f"{which} can't be read", str(exc), remedy) from exc
        return self.config

    def _ours(self, argv: list[str]) -> Iterator[str]:
        """The words that are about settings; the rest is for ipykernel's application."""
        known = {*self.aliases, *self.flags, "IPKernelApp.connection_file"}
        wanted = False
        for word in argv:
            if word.startswith("-"):
                name = word.lstrip("-").partition("=")[0]
                wanted = name in known or name.startswith("Settings.")
            if wanted:
                yield word
