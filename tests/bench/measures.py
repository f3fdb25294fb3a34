"""What is measured, in which unit, and what is to be reached."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One line of a table. `goal` is a ratio to the base, or a value in the unit where it is
    absolute; the most that is allowed, or the least where `more_is_better`."""

    name: str
    unit: str
    goal: float | None = None
    more_is_better: bool = False
    absolute: bool = False

    def reached(self, value: float, base: float) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        found = value if self.absolute else value / base
        return found >= self.goal if self.more_is_better else found <= self.goal


class Samples:
    """What was measured in all rounds: by measure and by who was measured."""

    def __init__(self) -> None:
        self._values: dict[tuple[Measure, str], list[float]] = defaultdict(list)

    def add(self, measure: Measure, who: str, value: float) -> None:
        """One more value."""
        self._values[measure, who].append(value)

    def measures(self) -> list[Measure]:
        """In the order in which they came."""
        return list(dict.fromkeys(measure for measure, _ in self._values))

    def has(self, measure: Measure, who: str) -> bool:
        """Whether it was measured for this one."""
        return bool(self._values.get((measure, who)))

    def median(self, measure: Measure, who: str) -> float:
        """The middle of all rounds."""
        return statistics.median(self._values[measure, who])

    def spread(self, measure: Measure, who: str) -> tuple[float, float]:
        """The smallest and the largest."""
        values = self._values[measure, who]
        return min(values), max(values)


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
