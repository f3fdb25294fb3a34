"""The ratios as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from bench.measures import Measure
from bench.page import Comparison

COLOURS = ("#b0b7bf", "#1f6fb4")
"""Of those that are compared with the base; the last is ours."""


def draw(comparisons: Sequence[Comparison], file: Path) -> None:
    """A bar for each ratio on a logarithmic scale, and a mark for its goal: less is better."""
    mpl.use("svg")
    # The same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "docker-kernel", "svg.fonttype": "none"})
    from matplotlib import pyplot, ticker

    rows = [len(_compared(one)) for one in comparisons]
    figure, panels = pyplot.subplots(
        len(comparisons),
        figsize=(8, 0.45 * sum(rows) + 1.2 * len(rows)),
        gridspec_kw={"height_ratios": rows},
        squeeze=False,
        sharex=True,
    )
    for axes, comparison in zip(panels[:, 0], comparisons, strict=True):
        _panel(axes, comparison)
    # The panels share it; its ticks stand below the last one.
    scale = panels[-1, 0].xaxis
    scale.set_major_locator(ticker.LogLocator(base=2))
    scale.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    scale.set_minor_locator(ticker.NullLocator())
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _panel(axes: mpl.axes.Axes, comparison: Comparison) -> None:
    measures, others = _compared(comparison), comparison.who[1:]
    height = 0.8 / len(others)
    for index, who in enumerate(others):
        found = [(row, _times(comparison, m, who)) for row, m in enumerate(measures)]
        shown = [(row, times) for row, times in found if times is not None]
        bars = axes.barh(
            [row + index * height for row, _ in shown],
            [times - 1 for _, times in shown],
            height,
            left=1,
            label=who,
            color=COLOURS[index - len(others)],
        )
        axes.bar_label(bars, [f"{times:.2f}" for _, times in shown], padding=3, fontsize=8)
    for row, measure in enumerate(measures):
        if measure.goal is not None:
            goal = 1 / measure.goal if measure.more_is_better else measure.goal
            place = row + (len(others) - 1) * height
            axes.plot([goal, goal], [place - height / 2, place + height / 2], color="#c0392b")
    axes.plot([], [], color="#c0392b", label="to reach")
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(measures))])
    axes.set_yticklabels([measure.name for measure in measures])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"as a multiple of {comparison.base}; less is better")
    axes.legend(fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def has_ratios(comparison: Comparison) -> bool:
    """Whether there is anything to draw of it."""
    return bool(_compared(comparison))


def _compared(comparison: Comparison) -> list[Measure]:
    """What has a ratio, and a goal for it."""
    measures = comparison.samples.measures()
    ours = comparison.who[-1]
    return [m for m in measures if m.goal is not None and _times(comparison, m, ours) is not None]


def _times(comparison: Comparison, measure: Measure, who: str) -> float | None:
    """As a multiple of the base; where more is better, the base as a multiple of it."""
    ratio = comparison.samples.ratio(measure, who, comparison.base)
    return 1 / ratio if ratio is not None and measure.more_is_better else ratio
