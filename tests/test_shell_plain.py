"""The plain shell under Python 3.8: a kernel's basics where nothing is installed (K2, K5, K10)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wire import Server, Session


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, pythons: dict[str, str]) -> Iterator[Session]:
    if "3.8" not in pythons:
        pytest.skip("there is no Python 3.8 on this machine")
    folder = tmp_path_factory.mktemp("work")
    with Server(folder, python=pythons["3.8"]) as server, server.connect() as client:
        yield client.open()


def test_what_it_says_of_itself(session: Session) -> None:
    """K10: the person is told once what is missing, and what to type."""
    opened = session.opened.result
    assert opened["shell"] == "plain"
    assert opened["python"].startswith("3.8.")
    (note,) = opened["notes"]
    assert "pip install ipython" in note


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", "2"),
        ("x = 5", None),
        ("x = 5\nx", "5"),
        ("x;", None),
        ("x;  # quiet", None),
        ("'a;'", "'a;'"),
        ("None", None),
        ("", None),
        ("# a comment", None),
        ("if True:\n    7", None),
        ("def f():\n    return 8\n\nf()", "8"),
        ("import asyncio\nawait asyncio.sleep(0, 'waited')", "'waited'"),
        ("[y async for y in __import__('asyncio') or ()] if False else 9", "9"),
        ("'\\ud800'", "'\\ud800'"),
        ("_ ", "'\\ud800'"),
    ],
)
def test_values(session: Session, code: str, value: str | None) -> None:
    """K2: the last expression's value, as in IPython."""
    assert session.ok(code).value == value


def test_counts(session: Session) -> None:
    first = session.ok("'a'").result["execution_count"]
    assert session.ok("'b'", silent=True).value is None
    answer = session.ok("'c'")
    assert answer.result["execution_count"] == first + 1
    assert answer.of("result")[0]["execution_count"] == first + 1
    session.ok("'d'", store_history=False)
    assert session.ok("'e'").result["execution_count"] == first + 2


def test_tracebacks_begin_with_the_persons_code(session: Session) -> None:
    """K2: with its lines, and none of ours."""
    session.ok("def fails():\n    return 1 / 0")
    answer = session.execute("x = 1\nfails()")
    assert answer.ending == (1, "error")
    (error,) = answer.of("error")
    assert error["ename"] == "ZeroDivisionError"
    assert error["evalue"] == "division by zero"
    text = "".join(error["traceback"])
    assert "line 2, in fails" in text
    assert "return 1 / 0" in text
    assert "docker_kernel_server" not in text
    assert answer.result["status"] == "error"
    assert answer.result["ename"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("1 +", "SyntaxError"),
        ("  x = 1\n y = 2", "IndentationError"),
        ("x = '\0'", "ValueError"),
        ("%pip no-such-command", "CalledProcessError"),
        ("raise KeyError('k')", "KeyError"),
        ("raise Exception('\\ud800')", "Exception"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "E"),
        ("def f(): f()\nf()", "RecursionError"),
        ("raise BaseException('b')", "BaseException"),
        ("'" + "(" * 2000 + "'" + "(" * 2000, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_errors(session: Session, code: str, name: str | None) -> None:
    """K2: any error ends its cell, and nothing else."""
    answer = session.execute(code)
    assert answer.ending == (1, "error")
    assert name is None or answer.error == name
    assert session.ok("1 + 1").value == "2"


@pytest.mark.parametrize(
    "code",
    [
        "%matplotlib inline",
        "%%bash\nls",
        "!ls",
        "x = 1\n%timeit x",
        "if True:\n    %pwd",
        "files = !ls",
        "x = %pwd",
        "print?",
        "??print",
    ],
)
def test_what_needs_ipython_says_what_to_type(session: Session, code: str) -> None:
    """K6: and what is Python by all its rules is run."""
    answer = session.execute(code)
    assert answer.error == "SyntaxError"
    assert "%pip install ipython" in answer.of("error")[0]["evalue"]
    assert session.ok("x = 7\n(x\n%3)\n").value == "1"


@pytest.mark.parametrize("code", ["%pip --version", "!pip --version", "pip --version "])
def test_pip_runs_all_the_same(session: Session, code: str) -> None:
    """K6: it is the way to IPython."""
    assert session.ok(code).text().startswith("pip ")


def test_a_traceback_is_lines(session: Session) -> None:
    """K2: frontends put the newlines in."""
    lines = session.execute("1 / 0").of("error")[0]["traceback"]
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert all(line and "\n" not in line for line in lines)


def test_a_lone_surrogate_in_the_code_is_an_error(session: Session) -> None:
    """P3"""
    assert session.execute("x = '\ud800'").ending == (1, "error")
    assert session.ok("1 + 1").value == "2"


def test_rich_output(session: Session) -> None:
    """K3"""
    code = """
class Rich:
    def _repr_html_(self): return '<b>hi</b>'
    def _repr_png_(self): return b'\\x89PNG'
    def _repr_markdown_(self): raise ValueError
    def __repr__(self): return 'Rich'
class Bundle:
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {'application/x-own': {'a': 1}}, {'application/x-own': {'m': 2}}
display(Rich())
Bundle()
"""
    answer = session.ok(code)
    (shown,) = answer.of("display")
    assert shown["data"] == {
        "text/plain": "Rich",
        "text/html": "<b>hi</b>",
        "image/png": "iVBORw==",
    }
    (result,) = answer.of("result")
    assert result["data"]["application/x-own"] == {"a": 1}
    assert result["metadata"] == {"application/x-own": {"m": 2}}


def test_user_expressions(session: Session) -> None:
    """K5"""
    answer = session.ok("x = 6", user_expressions={"good": "x * 7", "bad": "1 / 0"})
    expressions = answer.result["user_expressions"]
    assert expressions["good"]["data"]["text/plain"] == "42"
    assert expressions["bad"]["status"] == "error"
    assert expressions["bad"]["ename"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("code", "match", "start"),
    [
        ("pri", "print", 0),
        ("x = pri", "print", 4),
        ("whi", "while", 0),
        ("word.upp", "word.upper", 0),
        ("f(word.upp", "word.upper", 2),
    ],
)
def test_completion(session: Session, code: str, match: str, start: int) -> None:
    """K5"""
    session.ok("word = 'a'")
    reply = session.ask("complete", code=code, cursor_pos=len(code)).result
    assert match in reply["matches"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (start, len(code))


def test_completion_in_the_middle_counts_characters(session: Session) -> None:
    """K5: not bytes, not UTF-16 units."""
    code = "'🐍é', pri, 1"
    reply = session.ask("complete", code=code, cursor_pos=9).result
    assert (reply["cursor_start"], reply["cursor_end"]) == (6, 9)
    assert "print" in reply["matches"]


def test_inspection(session: Session) -> None:
    """K5"""
    session.ok("def f(a, b=2):\n    'What f does.'\n    return a")
    reply = session.ask("inspect", code="f(1)", cursor_pos=1).result
    assert reply["found"]
    text = reply["data"]["text/plain"]
    assert "f(a, b=2)" in text
    assert "What f does." in text
    assert "return a" not in text
    reply = session.ask("inspect", code="f(1)", cursor_pos=1, detail_level=1).result
    assert "return a" in reply["data"]["text/plain"]
    assert not session.ask("inspect", code="nothing_here", cursor_pos=3).result["found"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("x = 1", "complete"),
        ("for i in range(3):", "incomplete"),
        ("for i in range(3):\n    pass", "incomplete"),
        ("for i in range(3):\n    pass\n", "complete"),
        ("f(", "incomplete"),
        ("'''", "incomplete"),
        ("x = = 1", "invalid"),
        ("", "complete"),
    ],
)
def test_is_complete(session: Session, code: str, status: str) -> None:
    """K5"""
    assert session.ask("is_complete", code=code).result["status"] == status


def test_history(session: Session) -> None:
    """K5"""
    count = session.ok("'remember me'").result["execution_count"]
    session.ok("'not me'", store_history=False)
    tail = session.ask("history", access={"hist_access_type": "tail", "n": 1}).result
    assert tail["history"] == [[0, count, "'remember me'"]]
    access = {"hist_access_type": "search", "pattern": "*remember*", "n": 5}
    found = session.ask("history", access=access).result["history"]
    assert [0, count, "'remember me'"] in found
    access = {"hist_access_type": "range", "start": count, "stop": count + 1, "output": True}
    found = session.ask("history", access=access).result["history"]
    assert found == [[0, count, ["'remember me'", None]]]


def test_comms_are_refused_with_a_remedy(session: Session) -> None:
    """K7 needs IPython, and the person is told."""
    assert session.ask("comm_info").result["comms"] == {}
    answer = session.ask("comm_open", comm_id="c", target_name="t")
    assert answer.reason == "refused"
    assert "IPython" in answer.result


def test_sys_exit(session: Session) -> None:
    """K5: SystemExit in a cell isn't the session's end."""
    answer = session.execute("import sys; sys.exit(3)")
    assert answer.final
    assert session.ok("1 + 1").value == "2"


@pytest.mark.parametrize("word", ["exit()", "quit()"])
def test_exit(session: Session, word: str) -> None:
    """K5: as in IPython, the frontend is told, and the next cell begins a session."""
    leaving = session.wire.open()
    leaving.ok("kept = 1")
    (payload,) = leaving.ok(word).result["payload"]
    assert payload == {"source": "ask_exit", "keepkernel": False}
    assert leaving.execute("kept").error == "NameError"
