"""One deadline for a whole start, carried from step to step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .errors import StartTimeout


@dataclass
class Step:
    """A part of the work: its name ("creating the container") and how long it took, in seconds."""

    name: str
    seconds: float = 0.0


class Deadline:
    """A point in time that all steps share, and a record of what each of them took.

    `seconds` is the time from now on; `clock` gives seconds and never goes backwards.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.steps: list[Step] = []
        self._running: list[tuple[Step, float]] = []
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Seconds that are left, 0 where it has passed."""
        return max(0.0, self._end - self._clock())

    @property
    def expired(self) -> bool:
        """Whether it has passed."""
        return self.remaining() <= 0

    @contextmanager
    def step(self, name: str, counted: bool = True) -> Iterator[None]:
        """Record how long the body takes. Raises StartTimeout where no time is left to begin it.

        What isn't `counted` is recorded too, but puts the deadline off by what it took: a pull
        takes as long as the line is slow, and has a limit of its own.
        """
        if self.expired:
            raise self.timeout()
        step = Step(name)
        self.steps.append(step)
        self._running.append((step, self._clock()))
        try:
            yield
        finally:
            self._measure()
            self._running.pop()
            if not counted:
                self._end += step.seconds

    def slowest(self) -> Step | None:
        """The step that took longest so far, None where there was none."""
        self._measure()
        return max(self.steps, key=lambda step: step.seconds, default=None)

    def report(self) -> str:
        """One line for each step: milliseconds and name."""
        return "\n".join(f"{step.seconds * 1000:8.1f} ms  {step.name}" for step in self.steps)

    def timeout(self, detail: str = "") -> StartTimeout:
        """The error to raise where time is up; `detail` is what was seen last, log lines for
        instance."""
        slow = self.slowest()
        why = f"{slow.name} took {slow.seconds:.1f} s" if slow else "no step was begun"
        if detail:
            why = f"{why}; the last that was seen: {detail}"
        return StartTimeout(
            f"the start took longer than {self.seconds:g} s",
            why,
            more_time(self.seconds),
        )

    def _measure(self) -> None:
        # A step that is still going on counts too: mostly it is the slow one.
        now = self._clock()
        for step, begin in self._running:
            step.seconds = now - begin


def more_time(seconds: float) -> str:
    """The remedy for a start that took longer than this."""
    return f"run it again, or give it more time: DOCKER_KERNEL_START_TIMEOUT={2 * seconds:g}"
