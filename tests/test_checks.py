"""What a setting's value must be. That each is refused with its source: test_config.py."""

from __future__ import annotations

import pytest

from docker_kernel.checks import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("64m", 64 << 20), ("2g", 2 << 30), ("2GB", 2 << 30), ("1 G", 1 << 30), ("100000000", 10**8)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size("memory", text) == size
