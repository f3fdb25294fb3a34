"""Foreign text on a terminal, and in messages of ours: nothing but text comes through."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_kernel.cli.items import Item
from docker_kernel.errors import ServerError
from docker_kernel.texts import MAX_WORDS_CHARS, for_terminal, plain, without_codes
from strategies import quick

ESC = "\x1b"
TRICKS = {
    "clear the screen": f"{ESC}[2J{ESC}[H",
    "clipboard": f"{ESC}]52;c;cm0gLXJmIH4K\x07",
    "clipboard, ended otherwise": f"{ESC}]52;c;cm0gLXJmIH4K{ESC}\\",
    "title": f"{ESC}]0;title\x07",
    "a link": f"{ESC}]8;;http://example.org{ESC}\\",
    "report the title": f"{ESC}[21t",
    "where is the cursor": f"{ESC}[6n",
    "who are you": f"{ESC}[c",
    "device control": f'{ESC}P$q"p{ESC}\\',
    "another screen": f"{ESC}[?1049h",
    "the mouse": f"{ESC}[?1000h",
    "reset": f"{ESC}c",
    "charset": f"{ESC}(0",
    "shift out": "\x0e",
    "C1": "\x9b31m\x9d52;c;eA==\x9c\x90q\x9c",
    "NUL": "\0",
    "bell": "\a",
    "scroll": f"{ESC}[1;5r",
    "half a code": f"{ESC}[12",
    "half a title": f"{ESC}]0;",
    "ESC": ESC,
    "DEL": "\x7f",
}
by_trick = pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)


@by_trick
def test_a_cells_output_plays_no_tricks_on_a_terminal(trick: str) -> None:
    """P3: escape codes that do more than to colour and to draw a line anew are taken out."""
    for clean in (for_terminal, without_codes):
        shown = clean(f"before{trick}«after»")
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)
        assert shown.startswith("before")
        assert shown.endswith("«after»")


@pytest.mark.parametrize(
    "text",
    [
        f"{ESC}[31mred{ESC}[0m {ESC}[38;5;1mred{ESC}[m {ESC}[38:2::1:2:3mred",
        "50 %|#####     |\r100 %",
        f"{ESC}[?25l{ESC}[2K{ESC}[1A{ESC}[5Gx\b{ESC}[?25h",
        "é 🐍 שלום \u202b\u200d\xa0\tend\n",
    ],
)
def test_colours_and_progress_bars_stay(text: str) -> None:
    """K3"""
    assert for_terminal(text) == text


def test_a_file_gets_no_codes() -> None:
    assert without_codes(f"{ESC}[31mred{ESC}[0m\r{ESC}[2K1 %\n") == "red\r1 %\n"


@quick
@given(st.lists(st.sampled_from([ESC, "[", "]", "3", "m", ";", "\a", "\\", "P", "x", "\n"])))
def test_any_text_on_a_terminal(parts: list[str]) -> None:
    """P3: an ESC begins nothing but what is allowed, and what is clean stays as it is."""
    shown = for_terminal("".join(parts))
    assert ESC not in re.sub(r"\x1b\[[0-9;:]*m|\x1b\[[0-9;]*[ABCDGK]", "", shown)
    assert ESC not in without_codes("".join(parts))
    assert for_terminal(shown) == shown


@by_trick
def test_words_of_a_server_show_as_they_are(trick: str) -> None:
    """P3: in errors, notices and the log."""
    assert re.fullmatch(r"before[ -~]+after", plain(f"before{trick}after"))
    error = ServerError(f"a{trick}b", f"c{trick}d\r\n e", f"f{trick}g")
    assert re.fullmatch(r"a[ -~]+d e\nTo mend it: f[ -~]+g", str(error))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user\u202egnp.exe", r"user\u202egnp.exe"),
        ("\u2066a\u2069", r"\u2066a\u2069"),
        ("done\rerror", r"done\rerror"),
        ("a\bb", r"a\x08b"),
        ("\ud800", r"\ud800"),
        ("one\n\ttwo é 🐍 שלום\xa0", "one\n\ttwo é 🐍 שלום\xa0"),
    ],
)
def test_what_words_may_have(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_words_of_a_server_are_not_endless() -> None:
    assert len(plain("x" * 10_000_000)) < MAX_WORDS_CHARS + 50
    assert len(str(ServerError("x" * 10_000_000))) < MAX_WORDS_CHARS + 50


def test_what_became_of_a_container_is_text() -> None:
    """Labels say whose it is, and who makes a container writes its labels."""
    said = str(Item("container", "docker-kernel-1", "kept", "it is \x1b]0;x\x07ada's"))
    assert said == "kept: container docker-kernel-1: it is \\x1b]0;x\\x07ada's"
