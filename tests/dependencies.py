"""`make audit`: are there known vulnerabilities in what this project depends on, as installed here?

pip-audit asks PyPI for them. An index that can't be reached, or a mirror that knows of none, would
look like good news: so a version that has some, for certain, is asked for first. Exit code: 0 there
are none, 1 there are some, 2 it isn't known.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "docker-kernel"
TOOL = "pip-audit>=2.9"
KNOWN = "https://pypi.org/pypi/pyyaml/5.3/json"
"""A version with a vulnerability that was never taken back (CVE-2020-14343)."""

ASK_SECONDS = 10
AUDIT_SECONDS = 300


class NotKnown(Exception):
    """The vulnerabilities can't be looked up; the text says why."""


def installed(name: str = PROJECT) -> dict[str, str]:
    """The packages that it needs to run, and those that they need, with the versions here."""
    found: dict[str, str] = {}
    work = [name]
    while work:
        for text in metadata.requires(work.pop()) or []:
            needed = Requirement(text)
            key = canonicalize_name(needed.name)
            wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
            if wanted and key not in found:
                found[key] = metadata.version(key)
                work.append(key)
    return found


def check_source() -> None:
    """Raise NotKnown where PyPI's vulnerabilities can't be had."""
    try:
        with urllib.request.urlopen(KNOWN, timeout=ASK_SECONDS) as answer:
            known = json.load(answer).get("vulnerabilities")
    except (OSError, ValueError) as exc:
        raise NotKnown(f"{KNOWN}: {exc}") from exc
    if not known:
        raise NotKnown(f"{KNOWN} names no vulnerability, and there is one")


def look_up(packages: dict[str, str]) -> dict[str, Any]:
    """Pip-audit's report. Raises NotKnown."""
    with tempfile.TemporaryDirectory() as folder:
        tool, wanted = Path(folder, "tool"), Path(folder, "requirements.txt")
        wanted.write_text("".join(f"{name}=={found}\n" for name, found in packages.items()))
        # In an environment of its own: what it needs is none of ours.
        python = str(tool / "bin" / "python")
        audit = [python, "-m", "pip_audit", "--requirement", str(wanted), "--no-deps"]
        audit += ["--disable-pip", "--format=json", "--progress-spinner=off"]
        audit += ["--vulnerability-service=pypi", f"--timeout={ASK_SECONDS}"]
        try:
            for command in (
                [sys.executable, "-m", "venv", str(tool)],
                [python, "-m", "pip", "install", "--quiet", TOOL],
            ):
                subprocess.run(command, check=True, timeout=AUDIT_SECONDS)
            done = subprocess.run(audit, capture_output=True, timeout=AUDIT_SECONDS, check=False)
            report: dict[str, Any] = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as exc:
            raise NotKnown(f"pip-audit gave no report: {exc}") from exc
    return report


def findings(packages: dict[str, str], report: dict[str, Any]) -> list[str]:
    """The vulnerabilities of a report, a line each. Raises NotKnown where a package is missing."""
    seen, lines = set(), []
    for item in report["dependencies"]:
        if "skip_reason" in item:
            raise NotKnown(str(item["skip_reason"]))
        seen.add(canonicalize_name(item["name"]))
        for found in item["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "no version yet"
            lines.append(f"{item['name']} {item['version']}: {found['id']}, mended in {mended}")
    if missing := packages.keys() - seen:
        raise NotKnown(f"the report leaves out {', '.join(sorted(missing))}")
    return lines


def main(may_skip: bool) -> int:
    """Print what is known. Returns the exit code."""
    packages = installed()
    try:
        check_source()
        found = findings(packages, look_up(packages))
    except NotKnown as exc:
        print(f"the dependencies were NOT audited: {exc}")
        return 0 if may_skip else 2
    print("\n".join(found) or f"no known vulnerability in {len(packages)} packages")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main("--may-skip" in sys.argv))
