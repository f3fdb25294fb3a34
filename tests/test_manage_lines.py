"""Which cells are for the host's side, and what their lines ask for."""

from __future__ import annotations

import pytest

from docker_kernel.errors import UsageError
from docker_kernel.manage.lines import ACTIONS, HELP, complete, help_text, lines_of, parse


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("%docker", ["%docker"]),
        ("  %docker logs -n 5  ", ["%docker logs -n 5"]),
        ("# why\n\n%docker status\n%docker\tlimits", ["%docker status", "%docker\tlimits"]),
        ("%docker?", ["%docker?"]),
        ("?%docker", ["?%docker"]),
        ("%docker status\r\n%docker", ["%docker status", "%docker"]),
    ],
)
def test_cells_for_the_host(cell: str, found: list[str]) -> None:
    assert lines_of(cell) == found


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "# %docker",
        "docker status",
        "%dockers",
        "%docker.x",
        "%docker; 1",
        "x = %docker",
        "1\n%docker reset",
        "%docker reset\n1",
        "%%docker\n1",
        '"""\n%docker reset\n"""',
        "if x:\n    %docker reset",
        "%docker status\x0b1\nx = 1",
    ],
)
def test_cells_for_the_container(cell: str) -> None:
    """A line among code is code's: it could stand in a text, or below an if."""
    assert lines_of(cell) is None


def test_what_lines_ask_for() -> None:
    assert parse("%docker").action == "status"
    assert parse("%docker logs").lines == 50
    assert parse("%docker logs -n 5").lines == 5
    for line in ("%docker?", "??%docker", "%docker --help", "%docker logs -h", "%docker ?"):
        assert parse(line).action == HELP


@pytest.mark.parametrize(
    "name", ["-x", "''", "'a b'", "'x\rMay it beep? [y/N]'", "x\x1b[2K", "x\u202ey", "x" * 400]
)
def test_a_person_is_asked_about_no_text_but_an_images_name(name: str) -> None:
    with pytest.raises(UsageError):
        parse(f"%docker image {name}")
    for known in ("python:3.12-slim", "localhost/docker-kernel/a:1", "h:5000/x@sha256:" + "0" * 64):
        assert parse(f"%docker image {known}").name == known


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%docker strat", "there are status, "),
        ("%docker status now", "unrecognized arguments: now"),
        ("%docker logs -n many", "invalid int value"),
        ("%docker logs --force", "unrecognized arguments: --force"),
        ("%docker 'logs", "no closing quotation"),
    ],
)
def test_lines_that_are_wrong(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(line)
    assert "%docker?" in caught.value.remedy


def test_help_names_every_action() -> None:
    for name, action in ACTIONS.items():
        assert f"%docker {action.usage(name)}" in help_text()


@pytest.mark.parametrize(
    ("cell", "matches", "start"),
    [
        ("%docker sta", ["status"], 8),
        ("%docker ", [*ACTIONS, "--help"], 8),
        ("%docker logs -", ["-n"], 13),
        ("%docker status ", [], 15),
        ("%docker status\n%docker sess", ["sessions"], 23),
        ("%docker nothing ", [], 16),
    ],
)
def test_completion(cell: str, matches: list[str], start: int) -> None:
    reply = complete(cell, len(cell))
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == (
        matches,
        start,
        len(cell),
    )
