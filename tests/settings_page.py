"""The table in docs/settings.md, from the traits.

python tests/settings_page.py      writes it anew
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from docker_kernel.config import Settings
from docker_kernel.sources import ENV_PREFIX

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def rows() -> Iterator[str]:
    """A row for each setting, by name."""
    for name, trait in sorted(Settings.class_traits(config=True).items()):
        default = trait.default()
        shown = f"`{default}`" if default not in ("", [], {}) else ""
        cells = [f"`{name}`", f"`{ENV_PREFIX}{name.upper()}`", shown, str(trait.help)]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |".replace(
            "  ", " "
        )


def page() -> str:
    """The page with these rows instead of those that it has."""
    kept = [line for line in PAGE.read_text("utf-8").splitlines() if not line.startswith("| `")]
    where = kept.index("|---|---|---|---|") + 1
    return "\n".join([*kept[:where], *rows(), *kept[where:], ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
