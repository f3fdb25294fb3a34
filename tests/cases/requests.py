"""The requests of a frontend, those included that make no sense."""

from __future__ import annotations

from . import answer, ask, because, came, case, cell, control, done, interrupt

ANSWERED = "What makes no sense gets an answer; with ipykernel the frontend waits for ever."
TWICE = "ipykernel looks for the comm twice and warns each time, first as nobody's output."
IN_ORDER = "Text and comm messages come in the order in which they were made."

CELLS = [
    case("user_expressions", cell("y = 3", user_expressions={
        "good": "y * 2", "bad": "no_such", "rich": "Rich()", "syntax": "1 +", "repr": "E()"})),
    case("user_expressions of a cell that fails", cell("1 / 0", user_expressions={"a": "1"})),
    case("user_expressions that are no texts", cell("1", user_expressions={"a": 5})),
    case("silent", cell("print('loud')\n5", silent=True)),
    case("silent, an error", cell("1 / 0", silent=True)),
    case("silent, a SyntaxError", cell("for in x:", silent=True)),
    case("silent and stored", cell("stored = 1", silent=True, store_history=True)),
    case("silent with expressions", cell("1", silent=True, user_expressions={"a": "stored"})),
    case("not stored", cell("print('unstored')\n6", store_history=False)),
    case("not stored, an error", cell("1 / 0", store_history=False)),
    case("the cell's own message", cell("""
        p = get_ipython().get_parent()
        (sorted(p), p['msg_type'], p['content']['code'][:3], p['content']['silent'], p['metadata'],
            get_ipython().parent_header['msg_id'] == p['msg_id'],
            get_ipython().kernel.get_parent()['header']['msg_type'])
        """, metadata={"cellId": "abc", "other": [1]})),
    case("the code alone", ask("execute_request", code="8")),
    case("a cell on the control channel", control("execute_request", code="'on control'")),
]  # fmt: skip

STDIN = [
    case("no stdin", "input('? ')"),
    case("no stdin, getpass", "import getpass\ngetpass.getpass()"),
    case("input", cell("name = input('name? ')\nname", allow_stdin=True), answer("Ada")),
    case("input without a question", cell("input()", allow_stdin=True), answer("")),
    case("input of a number", cell("input(5)", allow_stdin=True), answer("x")),
    case("text before a question", cell("print('a')\ninput('? ')", allow_stdin=True), answer("x")),
    case("text after a question", cell("input('? ')\nprint('a')", allow_stdin=True), answer("x")),
    case("getpass", cell("getpass.getpass('secret ')", allow_stdin=True), answer("s")),
    case("getpass without a question", cell("getpass.getpass()", allow_stdin=True), answer("s"),
         differs=because("Python's own question; ipykernel's is empty.",
             "stdin 1 input_request: content.prompt")),
    case("getpass with a stream", cell("getpass.getpass('p ', sys.stderr)", allow_stdin=True),
         answer("s"), differs=because("No warning that the stream is of no use.", "iopub")),
    case("two questions", cell("input('a') + input('b')", allow_stdin=True), answer("1"),
         answer("2")),
    case("a question of a question", cell("input(input('a'))", allow_stdin=True), answer("1"),
         answer("2")),
    case("end of input", cell("input('? ')", allow_stdin=True), answer("\x04")),
    case("a question in a function", cell("def q(): return input('q')\nq()", allow_stdin=True),
         answer("in f")),
    case("a question in a thread", cell("""
        got = []
        t = threading.Thread(target=lambda: got.append(input('t? ')))
        t.start(); t.join()
        got
        """, allow_stdin=True), answer("threaded")),
    case("interrupt of a question", cell("input('? ')", allow_stdin=True), came("input_request"),
         interrupt),
    case("sys.stdin", "sys.stdin.read()"),
    case("stdin of a child", "subprocess.run(['cat']).returncode"),
]  # fmt: skip

LOOKING = [
    case("completion", ask("complete_request", code="pri", cursor_pos=3)),
    case("completion of attributes", """
        class Thing:
            first_attr = 1
            def second_attr(self, a, b=2): pass
        thing = Thing()
        """, done, ask("complete_request", code="thing.", cursor_pos=6)),
    case("completion in the middle",
         ask("complete_request", code="a = thing.fir + 1", cursor_pos=13)),
    case("completion in a later line",
         ask("complete_request", code="x = 1\nthing.f", cursor_pos=13)),
    case("completion of nothing", ask("complete_request", code="zzzzqqq", cursor_pos=7)),
    case("completion of a magic", ask("complete_request", code="%timei", cursor_pos=6)),
    case("completion of a file", ask("complete_request", code="open('writt", cursor_pos=11)),
    case("completion of a key", "d = {'alpha': 1, 'beta': 2}", done,
         ask("complete_request", code="d['", cursor_pos=3)),
    case("completion of a module", ask("complete_request", code="import asynci", cursor_pos=13)),
    case("completion behind wide characters",
         ask("complete_request", code="'😀'; pri", cursor_pos=8)),
    case("completion of null", ask("complete_request", code="pri", cursor_pos=None)),
    case("inspection", ask("inspect_request", code="thing", cursor_pos=3, detail_level=0)),
    case("inspection in detail",
         ask("inspect_request", code="soon", cursor_pos=4, detail_level=1)),
    case("inspection of a call", ask("inspect_request", code="len(", cursor_pos=4)),
    case("inspection of nothing", ask("inspect_request", code="no_such", cursor_pos=3)),
    case("inspection of an empty cell", ask("inspect_request", code="", cursor_pos=0)),
    case("inspection of a magic", ask("inspect_request", code="%time", cursor_pos=5)),
    case("inspection without a section", ask(
        "inspect_request", code="thing", cursor_pos=5, omit_sections=["type_name", "string_form"])),
    case("complete", ask("is_complete_request", code="x = 1")),
    case("incomplete", ask("is_complete_request", code="for i in x:")),
    case("incomplete, deeper", ask("is_complete_request", code="def f():\n    if 1:")),
    case("incomplete, a text", ask("is_complete_request", code="x = '''a")),
    case("incomplete, a magic", ask("is_complete_request", code="%%bash\n")),
    case("invalid", ask("is_complete_request", code="x = = 1")),
    case("complete, nothing", ask("is_complete_request", code="")),
]  # fmt: skip


HISTORY = [
    case("the history's tail", ask("history_request", hist_access_type="tail", n=3, raw=True,
         output=False)),
    case("its tail with output", "'an output'", done, ask("history_request",
         hist_access_type="tail", n=2, raw=True, output=True)),
    case("its tail, not raw", "!echo hist", done, ask("history_request", hist_access_type="tail",
         n=1, raw=False, output=False)),
    case("a range", ask("history_request", hist_access_type="range", session=0, start=1, stop=3,
         raw=True, output=False)),
    case("a range with output", ask("history_request", hist_access_type="range", session=0, start=1,
         stop=3, raw=True, output=True)),
    case("a range of a session", ask("history_request", hist_access_type="range", session=1,
         start=1, stop=3, raw=True, output=False), differs=because(
         "The session that was asked for; ipykernel calls the present one 0.",
         *(f"shell 1 history_reply: content.history.{row}.0" for row in (0, 1)))),
    case("a search", "'needle'", "'needle'", done, ask("history_request",
         hist_access_type="search", pattern="*needle*", raw=True, output=False)),
    case("a search for one", ask("history_request", hist_access_type="search", pattern="'needle'",
         raw=True, output=False, n=1)),
    case("a search without doubles", ask("history_request", hist_access_type="search",
         pattern="'needle'", raw=True, output=False, unique=True)),
    case("a search with output", ask("history_request", hist_access_type="search",
         pattern="'needle'", raw=True, output=True, n=1)),
    case("an unknown kind of history", ask("history_request", hist_access_type="none", raw=True,
         output=False)),
]  # fmt: skip

COMMS = [
    case("no comms", ask("comm_info_request")),
    case("a comm that nothing answers to", ask("comm_open", comm_id="c0", target_name="no_such",
         data={})),
    case("a comm from the frontend", """
        def opened(comm, message):
            comm.on_msg(lambda m: comm.send(m['content']['data'], {'m': 1}, m['buffers']))
            comm.on_close(lambda m: print('closed', m['content']['data']))
            comm.send({'opened with': message['content']['data']})
        comms = get_ipython().kernel.comm_manager
        comms.register_target('target', opened)
        """, done, ask("comm_open", comm_id="c1", target_name="target", data={"k": 1})),
    case("a comm's message", ask("comm_msg", comm_id="c1", data={"n": 2}, buffers=[b"\x00\xff"])),
    case("the comms", ask("comm_info_request")),
    case("the comms of a target", ask("comm_info_request", target_name="target"),
         ask("comm_info_request", target_name="other")),
    case("the end of a comm", ask("comm_close", comm_id="c1", data={"bye": 1})),
    case("a message to no comm", ask("comm_msg", comm_id="c9", data={}),
         differs=because(TWICE, "iopub")),
    case("the end of no comm", ask("comm_close", comm_id="c9", data={}),
         differs=because(TWICE, "iopub")),
    case("a comm from the session", """
        from comm import create_comm
        c = create_comm('front', data={'a': 1}, metadata={'m': 2}, buffers=[b'b'], comm_id='k1')
        c.send({'b': 2})
        c.close({'c': 3})
        """),
    case("text and comm messages", "c = create_comm('front', comm_id='k2')\nprint('a')\nc.send({})",
         "c.close()", differs=because(IN_ORDER, "iopub")),
    case("a comm whose opening fails", """
        def failing(comm, message): 1 / 0
        comms.register_target('failing', failing)
        """, done, ask("comm_open", comm_id="c2", target_name="failing", data={}), done,
         differs=because("The frame of ipykernel's own comm manager.",
             "iopub 5 stream: content.text")),
    case("a comm that fails", """
        def bad(comm, message):
            def fail(m): 1 / 0
            comm.on_msg(fail)
        comms.register_target('bad', bad)
        """, done, ask("comm_open", comm_id="c3", target_name="bad", data={}), done,
         ask("comm_msg", comm_id="c3", data={})),
    case("a comm without a target", ask("comm_open", comm_id="c4", data={})),
    case("a comm without an id", ask("comm_msg", data={}), differs=because(TWICE, "iopub")),
]  # fmt: skip

KERNEL = [
    case("kernel_info", ask("kernel_info_request"), differs={
        "shell 1 kernel_info_reply: content.banner": "Says where the code runs.",
        "shell 1 kernel_info_reply: content.implementation": "It is another kernel.",
        "shell 1 kernel_info_reply: content.implementation_version": "It is another kernel.",
        "shell 1 kernel_info_reply: content.supported_features": "No debugger yet."}),
    case("connect", ask("connect_request")),
    case("subshells", control("list_subshell_request")),
    case("the debugger", control("debug_request", type="request", command="debugInfo", seq=1),
         differs=because("No debugger yet.", *(f"control 1 debug_reply: content.{key}"
                         for key in ("body", "message", "success")))),
    case("an unknown request", ask("no_such_request"), control("no_such_request")),
    case("a reply as a request", ask("execute_reply", status="ok")),
    case("completion on the control channel",
         control("complete_request", code="pri", cursor_pos=3)),
    case("usage on the shell channel", ask("usage_request")),
    case("an interrupt on the shell channel", ask("interrupt_request"), done, "'alive'",
         differs=because("ipykernel interrupts its own answer.", "shell")),
]  # fmt: skip

MALFORMED = [
    case("a cell without code", ask("execute_request")),
    case("silent is null", ask("execute_request", code="1", silent=None)),
    case("store_history is null", ask("execute_request", code="2", store_history=None)),
    case("allow_stdin is a number", ask("execute_request", code="3", allow_stdin=1)),
    case("user_expressions is null", ask("execute_request", code="4", user_expressions=None)),
    case("user_expressions is a list", ask("execute_request", code="5", store_history=False,
         user_expressions=[1]), differs=because(ANSWERED, "shell", "iopub")),
    case("completion without a position", ask("complete_request", code="pri")),
    case("completion past the end", ask("complete_request", code="pri", cursor_pos=30),
         differs=because(ANSWERED, "shell")),
    case("completion of a number", ask("complete_request", code=5, cursor_pos=0),
         differs=because(ANSWERED, "shell")),
    case("inspection without a position", ask("inspect_request", code="x")),
    case("inspection past the end", ask("inspect_request", code="len", cursor_pos=50)),
    case("is_complete without code", ask("is_complete_request")),
    case("is_complete of a number", ask("is_complete_request", code=5),
         differs=because(ANSWERED, "shell")),
    case("history of nothing", ask("history_request"), differs=because(ANSWERED, "shell")),
    case("history with an unknown key", ask("history_request", hist_access_type="tail", n=1,
         raw=True, output=False, strange=1), differs=because(ANSWERED, "shell")),
    case("a shutdown that doesn't say how", control("shutdown_request"), done, "'alive'"),
]  # fmt: skip
