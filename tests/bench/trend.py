"""Whether something grows: a line through what was measured on the way."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass, field

FLAT_SHARE = 0.1
"""What a line may rise from its beginning to its end and still be called flat, as a share of its
beginning."""


@dataclass
class Trend:
    """One thing that was measured again and again: `places` has how many cells or sessions there
    had been, `values` what was measured then."""

    name: str
    unit: str
    compared: bool = False
    """Whether it stands beside ours to compare it with, and has no goal."""
    places: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, place: float, value: float) -> None:
        """One more point."""
        self.places.append(place)
        self.values.append(value)

    @property
    def slope(self) -> float:
        """What one more cell or session adds: the median of the slopes between all pairs of points
        (Theil and Sen), which a few disturbed points don't move."""
        points = zip(self.places, self.values, strict=True)
        return statistics.median(
            (later - sooner) / (end - begin)
            for (begin, sooner), (end, later) in itertools.combinations(points, 2)
        )

    @property
    def ends(self) -> tuple[float, float]:
        """The line's values at the first and at the last place."""
        slope = self.slope
        points = zip(self.places, self.values, strict=True)
        level = statistics.median(value - slope * place for place, value in points)
        return level + slope * self.places[0], level + slope * self.places[-1]

    @property
    def share(self) -> float:
        """What the line rises, as a share of its beginning."""
        begin, end = self.ends
        return (end - begin) / begin

    @property
    def flat(self) -> bool | None:
        """Whether it doesn't grow; what falls is flat enough. None where nobody asks."""
        return None if self.compared else self.share <= FLAT_SHARE
