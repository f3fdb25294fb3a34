"""A short soak; ../soak.py does the same for an hour."""

from __future__ import annotations

import random

import docker

import soak
from system import say

SECONDS = 20.0


def test_nothing_grows(image: str, docker_client: docker.DockerClient) -> None:
    """P12, E8: random cells, errors, questions, interrupts, deaths, restarts and a bad network."""
    seed = random.randrange(1 << 32)  # noqa: S311  (no secret)
    say(f"the seed is {seed}")
    assert "the server" in soak.soak(docker_client, image, SECONDS, seed)


def test_growth_is_seen() -> None:
    """What is counted is compared, each kind of it."""
    few = {"the server": 5}
    before = soak.Count({"the server": 50 << 20}, few, few, 7, 1)
    assert soak.grown(before, before, 100) == []
    more = {"the server": 6}
    after = soak.Count({"the server": 80 << 20}, more, more, 8, 2)
    words = " ".join(soak.grown(before, after, 100))
    for kind in ("memory", "descriptors", "threads", "processes", "containers"):
        assert kind in words
