"""``docker-kernel doctor``: what is wrong here, and what to do about it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..config import Settings
from ..reader import SettingsReader
from ..texts import plain
from .options import add_settings, setting_words

if TYPE_CHECKING:
    from ..doctor.findings import Finding

_COLOURS = {"ok": "32", "warning": "33", "problem": "31", "skipped": "2"}


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "doctor",
        help="find out what is wrong, and what to do",
        description="Look at the settings, the engine, its limits, disk and clock, proxies and the "
        "image; then start a container as a kernel does, look around in it, and remove it. Each "
        "finding says what is; where that isn't well, why it matters and what to type.",
        epilog="Exit code 0: no problem, though perhaps warnings. 1: at least one problem.",
    )
    parser.add_argument("--no-container", action="store_true", help="start no container.")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object.")
    add_settings(parser)
    parser.set_defaults(run=doctor)


def doctor(options: argparse.Namespace) -> int:
    """Look, and print each finding when it is known. Returns the exit code."""
    from ..doctor.examining import examine

    def load() -> Settings:
        reader = SettingsReader()
        return Settings.load(reader.read(setting_words(options)), reader.cli_config)

    found = []
    for finding in examine(load, not options.no_container):
        found.append(finding)
        if not options.json and finding.level != "skipped":
            print(_shown(finding, sys.stdout.isatty()), flush=True)
    problems = sum(finding.level == "problem" for finding in found)
    if options.json:
        findings = [asdict(finding) for finding in found]
        print(json.dumps({"ok": not problems, "findings": findings}, indent=1))
    else:
        print(_summary(found))
    return 1 if problems else 0


def _shown(finding: Finding, colour: bool) -> str:
    level = finding.level.ljust(8)
    if colour:
        level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
    head = f"{finding.id.ljust(15)} {_one_line(finding.what)}"
    if finding.level == "ok":
        return f"{level} {head}"
    rest = [("why", finding.why), ("to mend it", finding.remedy)]
    below = [f"{word}: {_one_line(text)}" for word, text in rest if text]
    return "\n         ".join([f"{level} {head}", *below])


def _one_line(text: str) -> str:
    return plain(" ".join(text.split()))  # an engine's words are foreign text


def _summary(found: list[Finding]) -> str:
    skipped = [finding.id for finding in found if finding.level == "skipped"]
    counts = []
    for level in ("problem", "warning"):
        number = sum(finding.level == level for finding in found)
        counts.append(f"{number or 'no'} {level}{'' if number == 1 else 's'}")
    more = f"; not looked at: {', '.join(skipped)}" if skipped else ""
    return f"\n{', '.join(counts)}{more}"
