"""The error tree: what each says, and that the docstring shows it as it is."""

from __future__ import annotations

import re

import pytest

from docker_kernel import errors


def test_the_text_has_what_why_and_remedy_in_two_lines() -> None:
    error = errors.DockerKernelError("no image x", "it was\nnever built", "docker build -t x .")
    assert str(error) == "no image x: it was never built\nTo mend it: docker build -t x ."
    assert (error.what, error.why, error.remedy) == (
        "no image x",
        "it was\nnever built",
        "docker build -t x .",
    )


@pytest.mark.parametrize(
    ("why", "remedy", "text"),
    [("", "", "w"), ("y", "", "w: y"), ("", "r", "w\nTo mend it: r")],
)
def test_a_part_that_is_missing_leaves_no_trace(why: str, remedy: str, text: str) -> None:
    assert str(errors.DockerKernelError("w", why, remedy)) == text


def test_the_docstring_shows_the_tree() -> None:
    lines = re.findall(r"^( *)([A-Z]\w+)(?: {2,}|$)", str(errors.__doc__), re.MULTILINE)
    shown: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for indent, name in lines:
        while above and above[-1][0] >= len(indent):
            above.pop()
        shown[name] = above[-1][1] if above else "Exception"
        above.append((len(indent), name))
    real = {
        name: thing.__bases__[0].__name__
        for name, thing in vars(errors).items()
        if isinstance(thing, type)
    }
    assert shown == real


def test_the_engine_s_refusal_keeps_the_status() -> None:
    assert errors.EngineRefused("creating failed", "no such image", status=404).status == 404
