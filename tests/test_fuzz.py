"""What the fuzzers look for, in a few seconds: P3, P6. `make fuzz` is the whole of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fuzz.seeds import mutations, seeds
from fuzz.targets import TARGETS, close, vocabulary

COUNT = {"live": 300}
"""How many inputs made up at random each target gets; 1500 where it isn't said."""


@pytest.fixture(scope="module", autouse=True)
def closing() -> Iterator[None]:
    yield
    close()


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_falls(name: str) -> None:
    """P3, P6: the same inputs each time."""
    for data in (b"", *seeds(), *mutations(vocabulary(), COUNT.get(name, 1500), seed=1)):
        TARGETS[name](data)
