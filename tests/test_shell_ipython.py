"""The IPython shell: all that a person expects of IPython (K2, K3, K5 to K7)."""

from __future__ import annotations

import base64
import re
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path

import pytest

from wire import Server, Session, Wire


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with Server(tmp_path_factory.mktemp("work")) as server, server.connect() as connected:
        yield connected


@pytest.fixture(scope="module")
def session(client: Wire) -> Session:
    return client.open()


# ---- values and errors


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", "2"),
        ("x = 5", None),
        ("x", "5"),
        ("x;", None),
        ("", None),
        ("None", None),
        ("if True:\n    7", None),
        ("%timeit -n1 -r1 -q -o 1", None),
        ("import asyncio\nawait asyncio.sleep(0, 'waited')", "'waited'"),
        ("async def f():\n    yield 1\n[x async for x in f()]", "[1]"),
        ("async for y in f():\n    pass\ny", "1"),
        ("'await, async'", "'await, async'"),
        ("y = !echo hi\ny", "['hi']"),
        ("_", "['hi']"),
        ("get_ipython().__class__.__name__", "'ZMQInteractiveShell'"),
        ("'IPKernelApp' in get_ipython().config", "True"),
        ("import __main__; __main__.x", "5"),
        ("import sys; sys.stdout.isatty()", "False"),
        ("'\\ud800'", "'\\ud800'"),
    ],
)
def test_values(session: Session, code: str, value: str | None) -> None:
    """K2, K6"""
    answer = session.ok(code)
    if "timeit" not in code:
        assert answer.value == value


def test_counts_and_history_names(session: Session) -> None:
    """K2, K5"""
    count = session.ok("'first'").result["execution_count"]
    assert session.ok("'silent'", silent=True).value is None
    session.ok("unstored = 1", store_history=False)
    answer = session.ok(f"Out[{count}] + In[{count}]")
    assert answer.value == repr("first'first'")
    assert answer.result["execution_count"] == count + 1


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("1 +", "SyntaxError"),
        (" x = 1\n   y = 2", "IndentationError"),
        ("%no_such_magic", "UsageError"),
        ("%%no_such_magic\n", "UsageError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", None),
        ("await __import__('asyncio').wait_for(__import__('asyncio').sleep(9), 0.01)", None),
    ],
)
def test_errors(session: Session, code: str, name: str | None) -> None:
    """K2"""
    answer = session.execute(code)
    if name != "UsageError":
        assert answer.ending == (1, "error")
        assert name is None or answer.error == name
        assert answer.result["status"] == "error"
    assert session.ok("1 + 1").value == "2"


def test_tracebacks_are_ipythons(session: Session) -> None:
    """K2: with the cell's number, colours, and none of our frames."""
    session.ok("def fails():\n    return 1 / 0")
    answer = session.execute("fails()")
    coloured = "\n".join(answer.of("error")[0]["traceback"])
    text = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert text != coloured
    assert re.search(r"Cell In\[\d+\]", text)
    assert "docker_kernel_server" not in text
    assert answer.text() == ""


def test_what_is_stored_of_an_error_is_what_was_shown(session: Session) -> None:
    """K2: %notebook writes it."""
    error = session.execute("1 / 0").of("error")[0]
    answer = session.ok("list(getattr(get_ipython().history_manager, 'exceptions', {}).values())")
    for each in literal_eval(answer.value or "[]")[-1:]:
        assert each == {key: error[key] for key in ("ename", "evalue", "traceback")}


def test_a_lone_surrogate_in_the_code_is_an_error(session: Session) -> None:
    """P3"""
    assert session.execute("x = '\ud800'").final
    assert session.ok("1 + 1").value == "2"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError", "----> 2     1 / 0"),
        ("def deep(n):\n    return deep(n + 1)\ndeep(0)", "skipping similar frames"),
        ("class Bad:\n    def __repr__(self):\n        1 / 0\nBad()", "----> 3     1 / 0"),
        ("x = = 1", "    x = = 1"),
        ("import asyncio\nasync def f():\n    1 / 0\nawait f()", "----> 3     1 / 0"),
    ],
)
def test_tracebacks_point_at_the_line(session: Session, code: str, line: str) -> None:
    """K2: also in a try, and a deep recursion doesn't fill the screen."""
    error = session.execute(code).of("error")[0]
    shown = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"]))
    assert line in shown
    assert len(shown.splitlines()) < 60


CELL_FILE = r"/ipykernel_\d+/\d+\.py"


@pytest.mark.parametrize(
    ("code", "pattern"),
    [
        ("import warnings\n\nwarnings.warn('careful')", rf"{CELL_FILE}:3: UserWarning: careful"),
        ("def f(): pass\nf.__code__.co_filename", CELL_FILE),
        ("import inspect\ndef source(): 'mine'\ninspect.getsource(source)", "'mine'"),
        ("import traceback\ntraceback.print_stack()", rf'File ".*{CELL_FILE}", line 2'),
        ("import pickle\nclass C: pass\npickle.loads(pickle.dumps(C()))", "__main__.C"),
        ("%%time\nf.__code__.co_filename", CELL_FILE),
    ],
)
def test_a_cells_file_name_is_ipykernels(session: Session, code: str, pattern: str) -> None:
    """K2: libraries know a cell by it (numba, line_profiler)."""
    answer = session.execute(code)
    assert re.search(pattern, answer.text() + str(answer.value))


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("import sys; 'ipykernel.zmqshell' in sys.modules", "True"),
        ("type(get_ipython()).__module__, type(sys.stdout).__module__", None),
        (
            "from ipykernel.zmqshell import ZMQInteractiveShell as Z; type(get_ipython()) is Z",
            "True",
        ),
        ("from ipykernel.kernelapp import IPKernelApp as A; A.instance().kernel.shell is Z", None),
        (
            "from ipykernel.comm import Comm; c = Comm(target_name='t'); c.close(); c.target_name",
            "'t'",
        ),
        ("get_ipython().get_parent() == get_ipython().kernel.get_parent()", "True"),
    ],
)
def test_libraries_find_a_kernel(session: Session, code: str, value: str | None) -> None:
    """K6, K7: by the names that tqdm, plotly, click and bokeh ask for."""
    answer = session.ok(code)
    if value is not None:
        assert answer.value == value
    elif "__module__" in code:
        assert answer.value == "('ipykernel.zmqshell', 'ipykernel.iostream')"


def test_another_runner_of_coroutines(session: Session) -> None:
    """K6: %autoawait takes any; IPython calls it."""
    code = "def runner(coroutine):\n    coroutine.close()\n    print('mine')\n%autoawait runner"
    session.ok(code)
    assert "mine" in session.execute("await 1").text()
    assert session.ok("%autoawait asyncio").status == 0


# ---- the person's configuration


def test_configuration_and_startup_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K6: read and run as ipykernel does; one that fails keeps nothing from working."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    profile = tmp_path / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "ipython_config.py").write_text(
        "c.InteractiveShellApp.exec_lines = ['from_line = 1']\n"
        "c.InteractiveShell.ast_node_interactivity = 'all'\n"
    )
    (profile / "ipython_kernel_config.py").write_text(
        "c.IPKernelApp.extensions = ['autoreload', 'no_such_extension']\n"
        "c.ZMQInteractiveShell.xmode = 'Plain'\n"
    )
    (profile / "startup" / "00-good.py").write_text("from_file = 2\n")
    (profile / "startup" / "10-bad.py").write_text("1 / 0\n")
    with Server(tmp_path / "work") as server, server.connect() as client:
        session = client.open()
        assert session.opened.result["shell"] == "ipython"
        answer = session.ok("from_line\nfrom_file")
        assert [event["data"]["text/plain"] for event in answer.of("result")] == ["1", "2"]
        assert session.ok("%autoreload 2").status == 0
        assert session.ok("get_ipython().InteractiveTB.mode").value == "'Plain'"
        assert "interactive namespace is empty" in session.ok("%who").text().lower()
        assert session.ask("restart_session").status == 0
        assert session.ok("from_file").value == "2"


def test_a_configuration_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K6"""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text("this is no Python\n")
    with Server(tmp_path / "work") as server, server.connect() as client:
        assert client.open().ok("%pwd").status == 0


def test_history_is_kept_over_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K5, K9"""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with Server(tmp_path / "work") as server, server.connect() as client:
        session = client.open()
        session.ok("'remember me'")
        assert session.ask("restart_session").status == 0
        assert "'remember me'" in session.ok("%history -g").text()


def test_a_module_in_the_work_folder_hides_none_of_pythons(tmp_path: Path) -> None:
    """K11: and yet it is found."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "this.py").write_text("1 / 0")
    (work / "mine.py").write_text("value = 3")
    with Server(work) as server, server.connect() as client:
        session = client.open()
        assert "Beautiful is better" in session.ok("import this").text()
        assert session.ok("import mine; mine.value").value == "3"


# ---- rich output


def test_displays(session: Session) -> None:
    """K3"""
    code = """
from IPython.display import HTML, Image, Latex, Markdown, clear_output, display, update_display
display(HTML('<b>hi</b>'), metadata={'text/html': {'isolated': True}})
handle = display(Markdown('*a*'), display_id='one')
update_display(Markdown('*b*'), display_id='one')
display({'application/x-own': {'a': [1]}}, raw=True)
display(Image(b'\\x89PNG\\r\\n\\x1a\\n', format='png'))
clear_output(wait=True)
Latex('$x$')
"""
    answer = session.ok(code)
    html, markdown, own, image = answer.of("display")
    assert html["data"]["text/html"] == "<b>hi</b>"
    assert html["metadata"] == {"text/html": {"isolated": True}}
    assert markdown["data"]["text/markdown"] == "*a*"
    assert markdown["transient"] == {"display_id": "one"}
    (update,) = answer.of("update_display")
    assert update["data"]["text/markdown"] == "*b*"
    assert update["transient"] == {"display_id": "one"}
    assert own["data"] == {"application/x-own": {"a": [1]}}
    assert base64.b64decode(image["data"]["image/png"]) == b"\x89PNG\r\n\x1a\n"
    (clear,) = answer.of("clear_output")
    assert clear["wait"] is True
    assert answer.of("result")[0]["data"]["text/latex"] == "$x$"
    kinds = [event["type"] for event in answer.events]
    assert kinds == [
        "display",
        "display",
        "update_display",
        "display",
        "display",
        "clear_output",
        "result",
    ]


def test_a_value_that_json_has_not_is_sent_all_the_same(session: Session) -> None:
    """K3"""
    code = "from IPython.display import JSON\nJSON({'nan': float('nan'), 'b': b'x'})"
    answer = session.ok(code)
    assert answer.of("result")[0]["data"]["application/json"]["nan"] == "nan"


# ---- magics


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("!echo hi", "hi\n"),
        ("%%bash\necho hi\necho there", "hi\nthere\n"),
        ("%%sh\nprintf hi", "hi"),
        ("%%capture held\nprint('x')", ""),
        ("print(repr(held.stdout))", "'x\\n'\n"),
        ("!exit 3\nprint(_exit_code)", "3\n"),
        ("%cd -q /\n%pwd", ""),
        ("%env GREETING=hi\n!echo $GREETING", "env: GREETING=hi\nhi\n"),
    ],
)
def test_magics(session: Session, code: str, text: str) -> None:
    """K6"""
    # "!" runs its command on a terminal, as in ipykernel, so that it shows its progress.
    assert session.ok(code).text("stdout").replace("\r\n", "\n") == text


def test_a_failing_cell_magic_is_an_error(session: Session) -> None:
    """K6"""
    answer = session.execute("%%bash\nexit 4")
    assert answer.ending == (1, "error")
    assert answer.error == "CalledProcessError"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("%less", "UsageError: Missing filename."),
        ("%clear", "\x1b[H\x1b[2J"),
        ("%autosave 0", "Autosave disabled"),
        ("%autosave often", "UsageError: %autosave requires an integer"),
        ("%connect_info", "jupyter console --existing"),
        ("%qtconsole", "jupyter qtconsole --existing"),
        ("%subshell", "subshell id: None"),
        ("x = 5\n%store x", "Stored 'x' (int)"),
        ("%gui qt", "a container has no screen"),
    ],
)
def test_the_magics_of_a_kernel(session: Session, code: str, shown: str) -> None:
    """K6: those that ipykernel has besides IPython's."""
    assert shown in session.execute(code).text()


def test_files_in_the_pager_and_in_the_editor(session: Session) -> None:
    """K5, K6"""
    session.ok("%%writefile shown.py\nvalue = 1\ndef thing(): pass")
    (page,) = session.ok("%less shown.py").result["payload"]
    assert page["source"] == "page"
    assert "value" in page["data"]["text/plain"]
    (edit,) = session.ok("%edit -n 2 shown.py").result["payload"]
    assert (edit["source"], edit["line_number"]) == ("edit_magic", "2")
    assert edit["filename"].startswith("/")
    assert edit["filename"].endswith("/shown.py")
    session.ok("import shown")
    (edit,) = session.ok("%ed shown.thing").result["payload"]
    assert (edit["filename"].rsplit("/")[-1], edit["line_number"]) == ("shown.py", 2)
    assert session.ok("%edit nothing_of_that_name").result["payload"] == []


def test_payloads(session: Session) -> None:
    """K5: a pager, and text for the next cell."""
    (page,) = session.ok("print?").result["payload"]
    assert page["source"] == "page"
    assert "Prints the values" in page["data"]["text/plain"]
    answer = session.ok("get_ipython().set_next_input('next', replace=True)")
    (following,) = answer.result["payload"]
    assert (following["source"], following["text"]) == ("set_next_input", "next")
    assert session.ok("1").result["payload"] == []


@pytest.mark.parametrize("word", ["exit", "quit()"])
def test_exit_ends_the_session_and_the_next_cell_begins_one(client: Wire, word: str) -> None:
    """K5: the frontend is told, exit handlers run, and no cell is lost."""
    leaving = client.open()
    leaving.ok("import atexit, concurrent.futures, os\nx = 1")
    leaving.ok("pool = concurrent.futures.ProcessPoolExecutor(1)\npool.submit(len, '').result()")
    leaving.ok("atexit.register(lambda: open('left', 'w').close())")
    (payload,) = leaving.ok(word).result["payload"]
    assert payload == {"source": "ask_exit", "keepkernel": False}
    answer = leaving.ok("import os; 'x' in globals(), os.path.exists('left')")
    assert answer.value == "(False, True)"
    told = answer.text("stderr") + str(client.loose)
    assert "exit was typed" in told
    assert leaving.ok("os.remove('left')").status == 0


def test_exit_that_keeps_the_session(client: Wire) -> None:
    """K5"""
    staying = client.open()
    staying.ok("x = 1\nexit(keep_kernel=True)")
    assert staying.ok("x").value == "1"


# ---- what a frontend asks


def test_user_expressions(session: Session) -> None:
    """K5"""
    answer = session.ok("x = 6", user_expressions={"good": "x * 7", "bad": "1 / 0"})
    expressions = answer.result["user_expressions"]
    assert expressions["good"]["data"]["text/plain"] == "42"
    assert expressions["bad"]["ename"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("code", "whole"),
    [
        ("pri", "print"),
        ("word.upp", "word.upper"),
        ("import o", "import os"),
        ("%tim", "%timeit"),
        ("d['k", "d['key"),
    ],
)
def test_completion(session: Session, code: str, whole: str) -> None:
    """K5: live objects, modules, magics, keys."""
    session.ok("word = 'a'; d = {'key': 1}")
    reply = session.ask("complete", code=code, cursor_pos=len(code)).result
    assert reply["cursor_end"] == len(code)
    texts = [code[: reply["cursor_start"]] + match for match in reply["matches"]]
    assert any(text.startswith(whole) for text in texts)


def test_completion_counts_characters(session: Session) -> None:
    """K5: not bytes, not UTF-16 units."""
    reply = session.ask("complete", code="'🐍é', prin, 1", cursor_pos=10).result
    assert (reply["cursor_start"], reply["cursor_end"]) == (6, 10)
    assert "print" in reply["matches"]


def test_a_cursor_outside_of_the_code_harms_nothing(session: Session) -> None:
    """P3"""
    for kind in ("complete", "inspect"):
        for cursor in (-1, 1000, 10**30):
            assert session.ask(kind, code="pri", cursor_pos=cursor).final
    assert session.ok("1 + 1").value == "2"


def test_inspection(session: Session) -> None:
    """K5"""
    session.ok("def f(a, b=2):\n    'What f does.'\n    return a")
    reply = session.ask("inspect", code="f(1)", cursor_pos=1).result
    assert reply["found"]
    assert "What f does." in reply["data"]["text/plain"]
    reply = session.ask("inspect", code="f(1)", cursor_pos=1, detail_level=1).result
    assert "return" in reply["data"]["text/plain"]
    assert not session.ask("inspect", code="nothing_here", cursor_pos=3).result["found"]


@pytest.mark.parametrize(
    ("code", "status", "indent"),
    [
        ("x = 1", "complete", None),
        ("for i in range(3):", "incomplete", "    "),
        ("f(", "incomplete", None),
        ("x = = 1", "invalid", None),
        ("%timeit 1", "complete", None),
        ("!ls", "complete", None),
    ],
)
def test_is_complete(session: Session, code: str, status: str, indent: str | None) -> None:
    """K5"""
    reply = session.ask("is_complete", code=code).result
    assert reply["status"] == status
    assert indent is None or reply["indent"] == indent


def test_history(session: Session) -> None:
    """K5: range, tail, search."""
    count = session.ok("'remember me'").result["execution_count"]
    for access in (
        {"hist_access_type": "tail", "n": 1},
        {"hist_access_type": "search", "pattern": "*remember*", "n": 1},
        {"hist_access_type": "range", "session": 0, "start": count, "stop": count + 1},
    ):
        rows = session.ask("history", access={"raw": True, "output": False, **access}).result
        assert [row[1:] for row in rows["history"]] == [[count, "'remember me'"]]


# ---- comms


@pytest.mark.parametrize("data", ["text", ["a", 1], None, 0])
def test_comms_carry_any_json(session: Session, data: object) -> None:
    """K7: bokeh sends text."""
    session.ok(COMM)
    assert session.ask("comm_open", comm_id="any", target_name="echo", data={}).status == 0
    answer = session.ask("comm_msg", comm_id="any", data=data, buffers=["AA=="])
    assert answer.of("comm_msg")[0]["data"] == {"echo": data}
    assert session.ok("seen[-1]['content']['data'], seen[-1]['msg_type']").value == repr(
        (data, "comm_msg")
    )
    # ipywidgets' uploads are memoryviews, of which people call tobytes().
    assert session.ok("seen[-1]['buffers'][0].tobytes()").value == "b'\\x00'"
    assert session.ok("comm.close()").of("comm_close")


COMM = """
from comm import create_comm, get_comm_manager
seen = []
def opened(opened_comm, message):
    global comm
    comm = opened_comm
    @comm.on_msg
    def echo(message):
        seen.append(message)
        backwards = bytes(message['buffers'][0])[::-1]
        comm.send({'echo': message['content']['data']}, buffers=[backwards])
get_comm_manager().register_target('echo', opened)
"""


def test_comms_that_a_frontend_opens(session: Session) -> None:
    """K7: with binary buffers, both ways."""
    session.ok(COMM)
    assert session.ask("comm_open", comm_id="c1", target_name="echo", data={}).status == 0
    assert session.ask("comm_info").result["comms"] == {"c1": {"target_name": "echo"}}
    buffer = base64.b64encode(b"\x00\xff\x01").decode()
    answer = session.ask("comm_msg", comm_id="c1", data={"n": 1}, buffers=[buffer])
    assert answer.status == 0
    (message,) = answer.of("comm_msg")
    assert message["comm_id"] == "c1"
    assert message["data"] == {"echo": {"n": 1}}
    assert base64.b64decode(message["buffers"][0]) == b"\x01\xff\x00"
    assert session.ok("len(seen)").value == "1"
    assert session.ask("comm_close", comm_id="c1").status == 0
    assert session.ask("comm_info").result["comms"] == {}


def test_comms_that_a_cell_opens(session: Session) -> None:
    """K7"""
    code = "from comm import create_comm\n"
    code += "c = create_comm(target_name='t', data={'a': 1}, buffers=[b'xy'])\n"
    code += "c.send({'b': 2})\nc.close()"
    answer = session.ok(code)
    (opened,) = answer.of("comm_open")
    assert opened["target_name"] == "t"
    assert opened["data"] == {"a": 1}
    assert base64.b64decode(opened["buffers"][0]) == b"xy"
    (message,) = answer.of("comm_msg")
    assert (message["comm_id"], message["data"]) == (opened["comm_id"], {"b": 2})
    assert answer.of("comm_close")[0]["comm_id"] == opened["comm_id"]


def test_a_message_on_no_comm_harms_nothing(session: Session) -> None:
    """P3"""
    assert session.ask("comm_msg", comm_id="nowhere", data={}).final
    assert session.ask("comm_open", comm_id="x", target_name="nowhere", data={}).final
    answer = session.ask("comm_msg", comm_id="c1", buffers=["not base64!"])
    assert answer.reason == "refused"
    assert session.ok("1 + 1").value == "2"


def test_the_parent_is_the_jupyter_header(session: Session) -> None:
    """K7: what ipywidgets' Output asks for."""
    header = {"msg_id": "m1", "msg_type": "execute_request"}
    answer = session.ok("get_ipython().kernel.get_parent()['header']['msg_id']", parent=header)
    assert answer.value == "'m1'"
