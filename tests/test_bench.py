"""What the bench makes of figures; the figures themselves are of `make bench`."""

from __future__ import annotations

import json

import pytest

from bench import page
from bench.measures import Measure, Samples, percentile
from bench.notebooks import kernels
from bench.trend import Trend

QUICK = Measure("quick", "ms", 1.2)
MUCH = Measure("much", "MB/s", 2.0, more_is_better=True)
SMALL = Measure("small", "MiB", 25, absolute=True)
PLAIN = Measure("plain", "s")


def samples(*rows: tuple[Measure, str, tuple[float, ...]]) -> Samples:
    made = Samples()
    for measure, who, values in rows:
        for value in values:
            made.add(measure, who, value)
    return made


@pytest.mark.parametrize(
    ("measure", "value", "base", "reached"),
    [
        (QUICK, 1.2, 1.0, True),
        (QUICK, 1.204, 1.0, True),  # shown as 1.20
        (QUICK, 1.21, 1.0, False),
        (MUCH, 200.0, 100.0, True),
        (MUCH, 190.0, 100.0, False),
        (SMALL, 25.04, None, True),  # shown as 25
        (SMALL, 25.1, 1000.0, False),
        (PLAIN, 1.0, 1.0, None),
        (QUICK, 1.0, None, None),
    ],
)
def test_goals_are_judged_as_shown(
    measure: Measure, value: float, base: float | None, reached: bool | None
) -> None:
    assert measure.reached(value, base) is reached


def test_a_table_of_known_figures() -> None:
    found = samples(
        (QUICK, "base", (1.0, 2.0, 3.0, 4.0, 100.0)),
        (QUICK, "by hand", (6.0,)),
        (QUICK, "ours", (4.5,)),
        (MUCH, "base", (100.0,)),
        (MUCH, "ours", (250.0,)),
        (SMALL, "ours", (20.0,)),
        (PLAIN, "base", (1.0,)),
        (PLAIN, "by hand", (0.5,)),
    )
    compared = page.Comparison("Some", found, ["base", "by hand", "ours"])
    assert compared.markdown() == [
        "|  | base | by hand | ratio | ours | ratio | to reach |",
        "|---|---|---|---|---|---|---|",
        "| quick, ms | 3 (2 – 4) | 6 | 2.00 | 4.5 | 1.50 | ≤ 1.2: **short** |",
        "| much, MB/s | 100 |  |  | 250 | 2.50 | ≥ 2: reached |",
        "| small, MiB |  |  |  | 20 |  | ≤ 25 MiB: reached |",
        "| plain, s | 1 | 0.5 | 0.50 |  |  |  |",
    ]
    assert compared.short() == ["quick"]
    rows = json.loads(json.dumps(compared.data()))
    assert [row["reached"] for row in rows] == [False, True, True, None]
    assert rows[0]["figures"]["ours"]["ratio"] == 1.5
    assert list(rows[2]["figures"]) == ["ours"]


def test_what_was_measured_only_once_has_no_spread() -> None:
    assert samples((PLAIN, "one", (3.0,))).spread(PLAIN, "one") == (3.0, 3.0)
    assert percentile([float(number) for number in range(200)], 0.99) == 198.0


def trend(*values: float) -> Trend:
    made = Trend("memory", "MiB")
    for place, value in enumerate(values):
        made.add(place * 100, value)
    return made


def test_a_line_through_points() -> None:
    """A disturbed point doesn't move it; a step that is taken once is no growth."""
    rising = trend(10, 11, 12, 500, 14, 15)
    assert rising.slope == pytest.approx(0.01)
    assert rising.ends == pytest.approx((10, 15))
    assert rising.share == pytest.approx(0.5)
    assert not rising.flat
    assert trend(10, 10, 10, 90, 10, 10).flat
    assert trend(10, 9, 8, 7).flat
    assert trend(100, 102, 104, 106).flat
    assert not trend(100, 105, 110, 115).flat


def test_a_table_of_growth() -> None:
    grown = page.Growth("Cells", [trend(10, 11, 12), trend(10, 10, 10)], "cell")
    assert grown.markdown() == [
        "|  | at the beginning | at the end | 1,000 cells add | ≤ +10% is flat |",
        "|---|---|---|---|---|",
        "| memory, MiB | 10 | 12 | 10 MiB | +20.0%: **short** |",
        "| memory, MiB | 10 | 10 | 0 MiB | +0.0%: reached |",
    ]
    assert [row["reached"] for row in grown.data()] == [False, True]
    assert grown.short() == ["memory"]


def test_what_ours_is_compared_with_has_no_goal() -> None:
    base = trend(10, 11, 12)
    base.compared = True
    grown = page.Growth("Cells", [base], "cell")
    assert grown.markdown()[-1].endswith("| +20.0% |")
    assert (grown.short(), grown.data()[0]["reached"]) == ([], None)


def test_the_page_keeps_what_people_wrote() -> None:
    text = f"Before.\n\n{page.BEGIN}\nold\n{page.END}\n\nAfter.\n"
    part = page.Growth("Cells", [trend(10, 11, 12)], "cell")
    new = page.between_marks(text, page.lines_of("Here.", [part]))
    assert new.startswith(f"Before.\n\n{page.BEGIN}\nHere.\n\n### Cells\n")
    assert new.endswith(f"- Cells: memory\n{page.END}\n\nAfter.\n")
    assert "old" not in new
    assert page.between_marks(new, page.lines_of("Here.", [part])) == new


def test_the_page_has_its_marks() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert (text.count(page.BEGIN), text.count(page.END)) == (1, 1)


def test_what_is_put_into_a_container_by_hand_is_left_out_without_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert list(kernels("image", "other", "label")) == ["ipykernel", "docker-kernel"]
