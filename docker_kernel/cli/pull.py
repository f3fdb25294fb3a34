"""``docker-kernel pull``: get the image before the first kernel needs it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..config import Settings
from ..deadline import Deadline
from ..reader import SettingsReader
from .choosing import ENGINE_SECONDS, complete_images, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backends.images import Layers


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "pull",
        help="get the image, so that the first kernel needn't wait for it",
        description="Pull an image, also where an older one of this name is here. How far it is "
        "goes to stderr: a bar on a terminal, lines elsewhere.",
    )
    image = parser.add_argument(
        "image",
        nargs="?",
        default="",
        metavar="IMAGE",
        help="the image. Default: that of the settings, as docker-kernel config --show has it.",
    )
    image.completer = complete_images  # type: ignore[attr-defined]
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object.")
    parser.set_defaults(run=pull)


def pull(options: argparse.Namespace) -> int:
    """Pull, and say what is here now. Returns the exit code."""
    from ..backends.images import inspect_image, pull_image

    name = options.image or settings_now().image_name()
    with connect() as engine:
        before = inspect_image(engine, name, Deadline(ENGINE_SECONDS))
        with progress_of(name) as show:
            pull_image(engine, name, Deadline(ENGINE_SECONDS), show)
        found = inspect_image(engine, name, Deadline(ENGINE_SECONDS)) or {}
    image_id, size = str(found.get("Id", "")), int(found.get("Size", 0))
    changed = before is None or before["Id"] != image_id
    if options.json:
        said = {"image": name, "id": image_id, "size_bytes": size, "changed": changed}
        print(json.dumps(said, indent=1))
    else:
        print(f"{name} is {'here' if changed else 'here already, and the newest'}: {image_id[:19]}")
    return 0


def settings_now(*arguments: str) -> Settings:
    """The settings in force, with these options. Raises SettingError."""
    reader = SettingsReader()
    return Settings.load(reader.read(list(arguments)), reader.cli_config)


@contextmanager
def progress_of(name: str) -> Iterator[Callable[[Layers], None]]:
    """What shows how far a pull is: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        from ..backends.images import in_lines

        yield in_lines(name, lambda text: print(text, file=sys.stderr, flush=True))
        return
    from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

    tqdm.monitor_interval = 0  # no thread of its own
    with tqdm(desc=name, unit="B", unit_scale=True, file=sys.stderr, leave=False) as bar:

        def show(layers: Layers) -> None:
            bar.n, bar.total = layers.size
            bar.set_postfix_str(layers.count(), refresh=False)
            bar.update(0)

        yield show
        bar.refresh()
