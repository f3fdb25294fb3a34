"""container/: what the image is made of is pinned, and the service is fenced in.

That they work is for test_compose.py, which needs compose and an engine.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docker_kernel.runtime import LENT, NOT_LENT

FOLDER = Path(__file__).parents[1] / "container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def requirements() -> list[tuple[Requirement, int]]:
    """Each requirement, and how many hashes it has."""
    text = (FOLDER / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    entries = re.split(r"\n(?=\w)", "\n".join(lines))
    return [
        (Requirement(entry.partition("\\")[0].strip()), len(re.findall("--hash=sha256:", entry)))
        for entry in entries
    ]


def test_all_that_is_installed_is_pinned_with_its_hashes() -> None:
    found = requirements()
    assert len(found) > len(LENT)
    for requirement, hashes in found:
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
        assert hashes, requirement
    names = {canonicalize_name(requirement.name) for requirement, _ in found}
    assert set(LENT) <= names
    assert not names & NOT_LENT
    assert "--require-hashes" in DOCKERFILE


def test_the_image_is_made_in_stages_and_runs_as_an_ordinary_user() -> None:
    *makers, last = re.split(r"\nFROM \$\{BASE_IMAGE\}(?: AS \w+)?\n", DOCKERFILE)[1:]
    assert len(makers) == 2
    # Nothing runs as root in what stays, and no argument of the other stages gets there.
    assert "RUN" not in last
    assert "ARG" not in last
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["1000:1000"]
    assert "HEALTHCHECK" in last


def test_the_service_is_fenced_in_and_has_its_secret_from_a_file() -> None:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    (service,) = found["services"].values()
    assert service["ports"] == ["127.0.0.1:${DOCKER_KERNEL_PORT:-8000}:8000"]
    assert service["secrets"] == list(found["secrets"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["mem_limit"] == service["memswap_limit"]
    assert {"cpus", "pids_limit", "healthcheck", "restart", "init", "user"} <= set(service)
