"""All that the command can do, in one page."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from .options import TITLE, add_settings

_SETTINGS = re.compile(rf"^{TITLE}:\n(?:(?: .*)?\n)*", re.MULTILINE)


class HelpAll(argparse.Action):
    """Prints the help of all verbs, and of all settings once."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it, and end the program."""
        print("\n".join(help_all(parser)))
        parser.exit()


def help_all(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The parts of the page."""
    yield parser.format_help()
    for verb in verbs_of(parser).values():
        yield f"{'-' * 78}\n\n{_SETTINGS.sub('', verb.format_help())}"
    settings = argparse.ArgumentParser(add_help=False)
    add_settings(settings)
    found = _SETTINGS.search(f"{settings.format_help()}\n")
    yield f"{'-' * 78}\n\n{found[0] if found else ''}"


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs by name."""
    for action in parser._subparsers._group_actions if parser._subparsers else ():  # noqa: SLF001
        return dict(action.choices or {})
    return {}


def meant(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """The option that is most like the first of these words, for the end of an error."""
    options = parser._option_string_actions  # noqa: SLF001
    found = get_close_matches(words[0].partition("=")[0], options, 1)
    return f"; did you mean {found[0]}?" if found else ""
