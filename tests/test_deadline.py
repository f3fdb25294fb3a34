"""A deadline, by a clock that the test moves."""

from __future__ import annotations

from contextlib import suppress

import pytest

from docker_kernel.deadline import Deadline
from docker_kernel.errors import StartTimeout


class Clock:
    """A clock that stands still until it is told how much time has gone by."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_counts_down_to_zero_and_no_further() -> None:
    clock = Clock()
    deadline = Deadline(10, clock)
    clock.now += 4
    assert deadline.remaining() == 6
    assert not deadline.expired
    clock.now += 60
    assert deadline.remaining() == 0
    assert deadline.expired


def test_steps_are_recorded_also_when_they_fail() -> None:
    clock = Clock()
    deadline = Deadline(60, clock)
    with deadline.step("first"):
        clock.now += 1
    with suppress(KeyError), deadline.step("second"):
        clock.now += 5
        raise KeyError
    assert [(step.name, step.seconds) for step in deadline.steps] == [("first", 1), ("second", 5)]
    slowest = deadline.slowest()
    assert slowest is not None
    assert slowest.name == "second"
    assert deadline.report().splitlines()[1].split() == ["5000.0", "ms", "second"]


def test_no_step_begins_after_the_end_and_the_slow_one_is_named() -> None:
    clock = Clock()
    deadline = Deadline(60, clock)
    with deadline.step("creating the container"):
        clock.now += 59
    with deadline.step("starting the container"):
        clock.now += 2
    with pytest.raises(StartTimeout) as caught, deadline.step("waiting"):
        pytest.fail("it began")
    assert "60 s" in caught.value.what
    assert "creating the container took 59.0 s" in caught.value.why


def test_the_step_that_goes_on_may_be_the_slow_one() -> None:
    clock = Clock()
    deadline = Deadline(60, clock)
    with deadline.step("first"):
        clock.now += 1
    with deadline.step("starting the container"):
        clock.now += 59
        assert "starting the container took 59.0 s" in deadline.timeout().why


def test_what_is_not_counted_puts_the_end_off() -> None:
    clock = Clock()
    deadline = Deadline(10, clock)
    with deadline.step("pulling", counted=False):
        clock.now += 3600
    assert deadline.remaining() == 10
    assert deadline.steps[0].seconds == 3600


def test_the_error_has_the_last_that_was_seen() -> None:
    error = Deadline(1, Clock()).timeout("Traceback: boom")
    assert "no step was begun" in error.why
    assert "Traceback: boom" in error.why
    assert "START_TIMEOUT" in error.remedy
    assert isinstance(error, TimeoutError)
