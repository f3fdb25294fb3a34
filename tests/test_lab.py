"""What the tests in a browser need of the machine; they themselves are in browser/."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import find_browser
from system import CannotError


@pytest.mark.parametrize(
    ("there", "missing"),
    [([], "Chromium"), (["chromium"], "chromedriver"), (["chromedriver"], "Chromium")],
)
def test_a_missing_browser_is_named(
    there: list[str], missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in there:
        (tmp_path / name).touch(0o755)
    with pytest.raises(CannotError, match=f"{missing} isn't installed.*apt-get install"):
        find_browser()
