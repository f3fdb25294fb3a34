"""The figures as tables, for people and for programs, and the page that they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measures import Measure, Samples, number
from bench.trend import FLAT_SHARE, Trend

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = DOCS / "performance.md", DOCS / "performance.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Comparison:
    """Some, measured in turn: the first of `who` is the base of the ratios, and a goal is for the
    last of them of whom there is a figure."""

    title: str
    samples: Samples
    who: Sequence[str]

    @property
    def base(self) -> str:
        """What the others are compared with."""
        return self.who[0]

    def reached(self, measure: Measure) -> bool | None:
        """Whether the goal is reached; None where that can't be told."""
        return self.samples.reached(measure, self._measured(measure)[-1], self.base)

    def markdown(self) -> list[str]:
        """The lines of the table."""
        base, *others = self.who
        columns = [base, *(title for other in others for title in (other, "ratio"))]
        rows = []
        for measure in self.samples.measures():
            cells = [_name(measure.name, measure.unit), self._value(measure, base)]
            for other in others:
                ratio = self.samples.ratio(measure, other, base)
                cells += [self._value(measure, other), "" if ratio is None else f"{ratio:.2f}"]
            rows.append([*cells, self._goal(measure)])
        return _table(["", *columns, "to reach"], rows)

    def data(self) -> list[dict[str, Any]]:
        """The rows, for programs."""
        return [
            {
                "measure": measure.name,
                "unit": measure.unit,
                "goal": measure.target() or None,
                "reached": self.reached(measure),
                "figures": {who: self._figures(measure, who) for who in self._measured(measure)},
            }
            for measure in self.samples.measures()
        ]

    def short(self) -> list[str]:
        """The measures that are short of their goal."""
        return [row["measure"] for row in self.data() if row["reached"] is False]

    def _measured(self, measure: Measure) -> list[str]:
        return [who for who in self.who if self.samples.has(measure, who)]

    def _figures(self, measure: Measure, who: str) -> dict[str, float | None]:
        low, high = self.samples.spread(measure, who)
        ratio = self.samples.ratio(measure, who, self.base)
        return {
            "median": self.samples.median(measure, who),
            "low": low,
            "high": high,
            "ratio": ratio,
        }

    def _value(self, measure: Measure, who: str) -> str:
        if not self.samples.has(measure, who):
            return ""
        low, high = map(number, self.samples.spread(measure, who))
        middle = number(self.samples.median(measure, who))
        return middle if low == high else f"{middle} ({low} – {high})"

    def _goal(self, measure: Measure) -> str:
        return measure.target() + _verdict(self.reached(measure))


@dataclass(frozen=True)
class Growth:
    """Whether some things grow."""

    title: str
    trends: Sequence[Trend]
    step: str
    """What the places count: cell, session."""

    def markdown(self) -> list[str]:
        """The lines of the table."""
        rows = []
        for trend in self.trends:
            begin, end = trend.ends
            per_thousand = f"{number(trend.slope * 1000)} {trend.unit}"
            share = f"{trend.share:+.1%}{_verdict(trend.flat)}"
            cells = [_name(trend.name, trend.unit), number(begin), number(end)]
            rows.append([*cells, per_thousand, share])
        columns = ["at the beginning", "at the end", f"1,000 {self.step}s add"]
        return _table(["", *columns, f"≤ +{FLAT_SHARE:.0%} is flat"], rows)

    def data(self) -> list[dict[str, Any]]:
        """The rows, for programs."""
        return [
            {
                "measure": trend.name,
                "unit": trend.unit,
                "slope": trend.slope,
                "share": trend.share,
                "reached": trend.flat,
                "points": list(zip(trend.places, trend.values, strict=True)),
            }
            for trend in self.trends
        ]

    def short(self) -> list[str]:
        """What grows."""
        return [trend.name for trend in self.trends if trend.flat is False]


Part = Comparison | Growth


def _name(name: str, unit: str) -> str:
    return f"{name}, {unit}" if unit else name


def _verdict(reached: bool | None) -> str:
    return {None: "", True: ": reached", False: ": **short**"}[reached]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (titles, *rows)]
    return [lines[0], f"|{'---|' * len(titles)}", *lines[1:]]


def lines_of(preface: str, parts: Sequence[Part]) -> list[str]:
    """What stands between the marks of the page."""
    lines = [preface]
    for part in parts:
        lines += ["", f"### {part.title}", "", *part.markdown()]
    short = [f"- {part.title}: {name}" for part in parts for name in part.short()]
    return [*lines, "", "### Short of the goal in this run", "", *(short or ["- nothing"])]


def between_marks(page: str, lines: Sequence[str]) -> str:
    """The page with these lines between its marks."""
    before, rest = page.split(BEGIN)
    return "\n".join([before + BEGIN, *lines, END + rest.split(END)[1]])


def write(lines: Sequence[str]) -> None:
    """Put the figures into the page."""
    PAGE.write_text(between_marks(PAGE.read_text(encoding="utf-8"), lines), encoding="utf-8")
