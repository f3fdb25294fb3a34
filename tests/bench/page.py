"""The figures as tables and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from bench.measures import Measure, Samples

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = DOCS / "performance.md", DOCS / "performance.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(samples: Samples, who: Sequence[str]) -> list[str]:
    """A table in Markdown: the first of `who` is the base of the ratios."""
    base, *others = who
    titles = ["", base, *(title for other in others for title in (other, "ratio")), "to reach"]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for measure in samples.measures():
        cells = [f"{measure.name}, {measure.unit}", _value(samples, measure, base)]
        for other in others:
            cells += [_value(samples, measure, other), _ratio(samples, measure, base, other)]
        lines.append(f"| {' | '.join([*cells, _goal(samples, measure, base, others[-1:])])} |")
    return lines


def _value(samples: Samples, measure: Measure, who: str) -> str:
    if not samples.has(measure, who):
        return ""
    low, high = samples.spread(measure, who)
    middle = number(samples.median(measure, who))
    return middle if low == high else f"{middle} ({number(low)} – {number(high)})"


def _ratio(samples: Samples, measure: Measure, base: str, who: str) -> str:
    if not samples.has(measure, base) or not samples.has(measure, who):
        return ""
    return f"{samples.median(measure, who) / samples.median(measure, base):.2f}"


def _goal(samples: Samples, measure: Measure, base: str, others: Sequence[str]) -> str:
    if measure.goal is None:
        return ""
    sign = "≥" if measure.more_is_better else "≤"
    unit = f" {measure.unit}" if measure.absolute else ""
    found = [who for who in others if samples.has(measure, who)]
    if not found:
        return f"{sign} {measure.goal:g}{unit}"
    compared = samples.median(measure, base) if samples.has(measure, base) else 1.0
    reached = measure.reached(samples.median(measure, found[-1]), compared)
    return f"{sign} {measure.goal:g}{unit}: {'reached' if reached else '**short**'}"


def number(value: float) -> str:
    """Three digits are all that a figure here is good for."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def draw(samples: Samples, base: str, others: Sequence[str], file: Path = PICTURE) -> None:
    """A bar for each ratio, on a logarithmic scale: to the left of 1 is better than the base."""
    mpl.use("svg")
    # The same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "docker-kernel", "svg.fonttype": "none"})
    from matplotlib import pyplot

    measures = [m for m in samples.measures() if samples.has(m, base)]
    figure, axes = pyplot.subplots(figsize=(8, 0.55 * len(measures) + 1))
    height = 0.8 / len(others)
    for index, who in enumerate(others):
        ratios = []
        for measure in measures:
            ratio = samples.median(measure, who) / samples.median(measure, base)
            ratios.append(1 / ratio if measure.more_is_better else ratio)
        places = [row + index * height for row in range(len(measures))]
        bars = axes.barh(places, [r - 1 for r in ratios], height, left=1, label=who)
        axes.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(measures))])
    axes.set_yticklabels([measure.name for measure in measures])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"times as long as {base}: less is better")
    axes.legend(fontsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def write(lines: Sequence[str]) -> None:
    """Put the figures into the page, between the marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text("\n".join([before + BEGIN, *lines, END + after]), encoding="utf-8")
