"""`make audit` never takes silence for good news."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import dependencies
from dependencies import NotKnown, findings, installed

PACKAGES = {"a-b": "1", "c": "2"}


def report(*items: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(items)}


def test_what_is_audited() -> None:
    found = installed()
    assert {"ipykernel", "docker", "urllib3", "traitlets"} <= found.keys()
    assert not {"pytest", "mypy"} & found.keys()
    assert all(version[0].isdigit() for version in found.values())


def test_a_report() -> None:
    clean = {"name": "A_b", "version": "1", "vulns": []}
    bad = {"id": "CVE-1", "fix_versions": ["3", "2.1"]}
    assert findings(PACKAGES, report(clean, {"name": "c", "version": "2", "vulns": []})) == []
    found = findings(PACKAGES, report(clean, {"name": "c", "version": "2", "vulns": [bad]}))
    assert found == ["c 2: CVE-1, mended in 3, 2.1"]


@pytest.mark.parametrize(
    "items", [[], [{"name": "c", "skip_reason": "not found on PyPI"}, {"name": "a-b", "vulns": []}]]
)
def test_what_was_left_out_is_not_known(items: list[dict[str, Any]]) -> None:
    with pytest.raises(NotKnown):
        findings(PACKAGES, report(*items))


def test_a_source_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    for arguments, code in (([], 2), (["--may-skip"], 0)):
        command = [sys.executable, str(dependencies.__file__), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "were NOT audited: https://pypi.org" in done.stdout
