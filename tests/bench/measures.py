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

    def reached(self, value: float, base: float | None) -> bool | None:
        """Whether the goal is reached, as the figures are shown; None where that can't be told."""
        if self.goal is None or (base is None and not self.absolute):
            return None
        found = float(number(value)) if self.absolute or base is None else round(value / base, 2)
        return found >= self.goal if self.more_is_better else found <= self.goal

    def target(self) -> str:
        """The goal in words; "" for none."""
        if self.goal is None:
            return ""
        unit = f" {self.unit}" if self.absolute and self.unit else ""
        return f"{'≥' if self.more_is_better else '≤'} {self.goal:g}{unit}"


class Samples:
    """What was measured in all rounds: by measure and by who was measured."""

    def __init__(self) -> None:
        self._values: dict[tuple[Measure, str], list[float]] = defaultdict(list)

    def add(self, measure: Measure, who: str, value: float) -> None:
        """One more value."""
        self._values[measure, who].append(value)

    def repeat(self, measure: Measure, who: str, as_measure: Measure) -> None:
        """What was measured counts for another measure, too."""
        self._values[as_measure, who] = list(self._values[measure, who])

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
        """The ends of the middle half of all rounds: one that was disturbed doesn't count."""
        values = self._values[measure, who]
        if len(values) == 1:
            return values[0], values[0]
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return low, high

    def ratio(self, measure: Measure, who: str, base: str) -> float | None:
        """How many times the base's; None where one of the two was not measured."""
        if measure.absolute or not self.has(measure, who) or not self.has(measure, base):
            return None
        return self.median(measure, who) / self.median(measure, base)

    def reached(self, measure: Measure, who: str, base: str) -> bool | None:
        """Whether this one reaches the goal; None where that can't be told."""
        if not self.has(measure, who):
            return None
        compared = self.median(measure, base) if self.has(measure, base) else None
        return measure.reached(self.median(measure, who), compared)


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def number(value: float) -> str:
    """Three digits are all that a figure here is good for."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
