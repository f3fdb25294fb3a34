"""Values, text, displays: what a cell makes."""

from __future__ import annotations

import textwrap

from . import WAIT, Case, because, case, cell, done, shown, touch

IN_ORDER = (
    "Text and displays come in the order in which they were made; ipykernel joins text first."
)
OWN_CELL = (
    "A thread's output belongs to the cell that started it; with ipykernel, to the latest one."
)
NO_JSON = "What can't be sent is said in one line, without the frames of the sending."

RICH = """
class Rich:
    def __repr__(self): return "rich"
    def _repr_html_(self): return "<b>rich</b>"
    def _repr_markdown_(self): return "**rich**"
    def _repr_latex_(self): return "$rich$"
    def _repr_svg_(self): return "<svg/>"
    def _repr_png_(self): return b"\\x89PNG\\r\\n\\x1a\\n"
    def _repr_jpeg_(self): return b"\\xff\\xd8"
    def _repr_pdf_(self): return b"%PDF"
    def _repr_json_(self): return {"a": [1, None, True]}
    def _repr_javascript_(self): return "1"
"""

VALUES = [
    case("a value", "1 + 1"),
    case("no value", "x = 1"),
    case("None", "None"),
    case("a semicolon", "1 + 1;"),
    case("a semicolon and a comment", "1 + 1; # none"),
    case("several values", "1\n2\n'three'"),
    case("an empty cell", ""),
    case("a blank cell", "  \n\n"),
    case("a comment", "# nothing"),
    case("characters beyond ASCII", "print('😀 é \\x00')\n'\\U0001f600 é'"),
    case("a lone surrogate", "'\\ud800'"),
    case("a long value", "list(range(3000))"),
    case("a set", "{3, 1, 2}"),
    case("the last values", "2", "_", done, "_, __, len(In) == len(_ih)"),
    case("the code of the cell", "In[-1]"),
    case("the count", "1", cell("2", store_history=False), "3"),
    case("a cell's id", cell("1", metadata={"cellId": "abc", "other": [1]})),
    case("pretty printing", "%pprint\n[1, 2]", "%pprint"),
    case("sys.displayhook", "sys.displayhook(5)"),
    case("all values", "%config InteractiveShell.ast_node_interactivity = 'all'", "1\n2",
         "%config InteractiveShell.ast_node_interactivity = 'last_expr'"),
]  # fmt: skip


def streams(name: str, code: str, text: str) -> Case:
    """What goes through a descriptor is seen while the cell runs: ipykernel may be late."""
    made = name.replace(" ", "")
    return case(name, f"{textwrap.dedent(code)}\n{WAIT.format(made)}", shown(text), touch(made))


TEXT = [
    case("stdout", "print('a')\nprint('b', end='')"),
    case("stderr", "print('a', file=sys.stderr)"),
    case(
        "stdout and stderr",
        "print('a')\nprint('b', file=sys.stderr)\nprint('c')",
        differs=because(IN_ORDER, "iopub"),
    ),
    case("carriage returns", "for i in range(3): print(f'\\r{i}', end='', flush=True)"),
    case("write gives the length", "sys.stdout.write('abc')"),
    case("write takes no bytes", "sys.stdout.write(b'abc')"),
    case("writelines", "sys.stdout.writelines(['a', 'b'])"),
    case("the streams", "s = sys.stdout\ns.name, s.encoding, s.closed, s.isatty(), s.writable()"),
    case("a warning", "import warnings\nwarnings.warn('careful')"),
    case("a log", "import logging\nlogging.getLogger('x').warning('careful')"),
    case("text and a value", "print('a')\n1"),
    streams("os.write", "os.write(1, b'raw\\n');", "raw"),
    streams("a subprocess", "subprocess.run(['echo', 'sub']);", "sub"),
    streams("stderr of a subprocess", "subprocess.run('echo err >&2', shell=True)", "err"),
    streams("os.system", "os.system('echo system')", "system"),
    streams("a forked child", """
        if not os.fork():
            print('child')
            os._exit(0)
        os.wait()
        """, "child"),
    streams("multiprocessing", """
        import multiprocessing
        process = multiprocessing.get_context('fork').Process(target=print, args=('worker',))
        process.start(); process.join()
        """, "worker"),
    case("a thread", "t = threading.Thread(target=print, args=('t',)); t.start(); t.join()"),
    case("a thread that fails", """
        def fail(): 1 / 0
        t = threading.Thread(target=fail); t.start(); t.join()
        """, shown("ZeroDivisionError")),
    case("a thread that outlives its cell", f"""
        def late():
            {WAIT.format('late')}
            print('late')
        threading.Thread(target=late).start()
        """, done, "1", done, touch("late"), shown("late"), differs=because(OWN_CELL, "iopub")),
    case("a thread that displays late", f"""
        def later():
            {WAIT.format('later')}
            display('shown late')
            print('later')
        threading.Thread(target=later).start()
        """, done, "2", done, touch("later"), shown("later"), differs=because(OWN_CELL, "iopub")),
]  # fmt: skip

DISPLAYS = [
    case("every kind of data", RICH + "Rich()"),
    case("display", "display(Rich())"),
    case("display of several", "display(1, 'two', Rich())"),
    case("display of nothing", "display()"),
    case("display with metadata", """
        data = {'text/plain': 'a', 'x/y': {'b': 1}}
        display(data, raw=True, metadata={'k': 1, 'x/y': {'w': 2}})
        """),
    case("display: include", "display(Rich(), include=['text/html'])"),
    case("display: exclude", "display(Rich(), exclude=['text/html', 'image/png'])"),
    case("metadata of a value", """
        class M:
            def _repr_png_(self): return b'x', {'width': 3}
            def __repr__(self): return 'M'
        M()
        """),
    case("a MIME bundle", """
        class B:
            def _repr_mimebundle_(self, **keys): return {'text/plain': 'b', 'x/y': [1]}, {'m': 1}
        B()
        """),
    case("_ipython_display_", """
        class D:
            def _ipython_display_(self): print('by itself')
        D()
        """),
    case("a display id", "h = display('a', display_id='d')\nh.update('b')\nh.display('c')\nh",
         "display('later', display_id='d', update=True)"),
    case("a display id by chance", "display('a', display_id=True)"),
    case("the classes of IPython.display", """
        from IPython.display import *
        display(HTML('<b>'), Markdown('*'), Latex('$'), JSON({'a': 1}), Javascript('1'), Math('x'),
            SVG('<svg xmlns="http://www.w3.org/2000/svg"/>'), Code('x = 1', language='python'),
            Image(b'\\x89PNG\\r\\n\\x1a\\n', format='png'), GeoJSON({}), IFrame('x', 1, 2))
        """),
    case("a progress bar", "for i in ProgressBar(2): pass"),
    case("clear_output", "print('a')\nclear_output()\nclear_output(wait=True)\nprint('b')"),
    case("publish_display_data", """
        from IPython.display import publish_display_data
        publish_display_data({'text/plain': 'p'}, {'m': 1}, transient={'display_id': 'p'})
        publish_display_data({'text/plain': 'q'}, transient={'display_id': 'p'}, update=True)
        """),
    case("text, display, text, value", "print('a')\ndisplay('b')\nprint('c')\n'd'"),
    case("text and displays by turns", "for i in range(3):\n    print(i)\n    display(i)"),
    case("data that JSON hasn't", """
        from datetime import date
        display({'x/y': {'t': (1, 2), 'b': b'b', 'd': date(2020, 1, 2)}}, raw=True)
        """),
    case("NaN", "display({'x/y': float('nan')}, raw=True)", differs=because(
        "Both send it as a text; jupyter_client warns of it as well.", "iopub")),
    case("data that can't be sent", "display({'x/y': object()}, raw=True)",
         differs=because(NO_JSON, "iopub 3 error: content.evalue",
             "iopub 3 error: content.traceback", "shell 1 execute_reply: content.evalue",
             "shell 1 execute_reply: content.traceback")),
]  # fmt: skip
