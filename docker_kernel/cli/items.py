"""What became of things: how verbs that end or remove them say it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..texts import plain


@dataclass(frozen=True)
class Item:
    """A container or a volume, and what became of it: stopped, removed, left over, kept, or
    failed."""

    kind: str
    name: str
    outcome: str
    why: str

    def __str__(self) -> str:
        said = ": ".join(filter(None, [self.outcome, f"{self.kind} {self.name}", self.why]))
        return plain(said)  # whose it is, and why it stays, are others' words


def report(items: Iterable[Item], as_json: bool, nothing: str, **more: Any) -> int:
    """Print each as it comes, or all as one JSON object with `more` in it. Returns the exit code:
    1 where one has failed. `nothing` is for people, where all was kept."""
    found = []
    for item in items:
        found.append(item)
        if not as_json:
            print(item, flush=True)
    if as_json:
        print(json.dumps({**more, "items": [asdict(item) for item in found]}, indent=1))
    elif not any(item.outcome != "kept" for item in found):
        print(nothing)
    return 1 if any(item.outcome == "failed" for item in found) else 0
