"""A cell's own folder and environment (M3), under IPython and in the plain shell."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from wire import Server, Session

LOOK = "import os; os.getcwd(), os.environ.get('A'), os.environ.get('B')"


pytestmark = pytest.mark.parametrize("server", ["ipython", "plain"], indirect=True)


def look(session: Session, **keys: object) -> object:
    """What LOOK gives; long paths are drawn over several lines."""
    return ast.literal_eval(session.execute(LOOK, **keys).value or "")


def test_they_hold_for_the_cell(session: Session, server: Server, tmp_path: Path) -> None:
    session.ok("import os; os.environ['B'] = 'before'")
    keys = {"cwd": str(tmp_path), "env": {"A": "é", "B": "b"}}
    assert look(session, **keys) == (str(tmp_path), "é", "b")
    children = session.execute("import os; os.system('pwd; echo $B'); None", **keys)
    assert children.text() == f"{tmp_path}\nb\n"
    awaited = "import asyncio; await asyncio.sleep(0); os.getcwd()"
    assert session.execute(awaited, **keys).value == repr(str(tmp_path))
    assert session.execute("1 / 0", **keys).error == "ZeroDivisionError"
    assert session.execute("raise SystemExit", **keys).reason == "error"
    assert look(session) == (str(server.folder), None, "before")


def test_an_interrupt_puts_them_back_too(session: Session, server: Server, tmp_path: Path) -> None:
    """M7"""
    code = "print('on')\nwhile True: pass"
    cell = session.begin(code, cwd=str(tmp_path), env={"A": "a"})
    session.wire.wait_for_text(cell, "on")
    session.interrupt()
    assert session.wire.finish(cell).reason == "interrupt"
    assert look(session) == (str(server.folder), None, None)


def test_other_changes_of_the_cell_stay(session: Session, tmp_path: Path) -> None:
    session.execute("import os; os.environ['B'] = 'new'; del os.environ['A']", env={"A": "a"})
    session.execute("os.chdir('/')", env={"A": "a"})
    assert look(session) == ("/", None, "new")
    session.execute("os.chdir('/usr')", cwd=str(tmp_path))
    assert look(session) == ("/", None, "new")


def test_a_folder_is_seen_from_the_session_s_own(session: Session, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    session.ok(f"import os; os.chdir({str(tmp_path)!r})")
    assert session.execute("os.getcwd()", cwd="below").value == repr(str(tmp_path / "below"))


def test_a_folder_that_is_moved_meanwhile_is_found_again(session: Session, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    session.ok(f"import os; os.chdir({str(tmp_path / 'old')!r})")
    session.execute(f"os.rename({str(tmp_path / 'old')!r}, {str(tmp_path / 'new')!r})", cwd="/")
    assert session.ok("os.getcwd()").value == repr(str(tmp_path / "new"))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"cwd": "/no/such/folder"}, "'/no/such/folder'"),
        ({"cwd": "a\0b"}, "null byte"),
        ({"env": {"A": "a", "B": 5}}, "must hold strings"),
        ({"env": {"A": "a", "B=": "x"}}, "variable name"),
        ({"env": {"A": "a"}, "cwd": "/no"}, "'/no'"),
    ],
)
def test_what_can_t_be_had_is_refused_before_the_cell_runs(
    session: Session, server: Server, keys: dict[str, object], says: str
) -> None:
    answer = session.execute("ran = 1", **keys)
    assert answer.reason == "refused"
    assert answer.result.startswith("the cell was not run: ")
    assert says in answer.result
    assert session.ok("'ran' in globals()").value == "False"
    assert look(session) == (str(server.folder), None, None)


def test_a_subshell_has_none_of_its_own(session: Session) -> None:
    for keys in ({"cwd": "/"}, {"env": {"A": "a"}}):
        answer = session.execute("1", subshell="a", **keys)
        assert answer.reason == "refused"
        assert "main shell" in answer.result
