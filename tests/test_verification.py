"""Verification of code (V1, V2): what is refused, where, and what is let through."""

from __future__ import annotations

import ast
import keyword
import sys
import textwrap

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from docker_kernel.errors import CodeRefused
from docker_kernel.verification import (
    Names,
    Rules,
    check_cell,
    check_command,
    check_python,
    ipython,
)

FUNCTIONS = Rules((), ("eval", "exec", "os.system", "os.exec*", "subprocess.*"))
MODULES = Rules(("numpy", "os.path", "matplotlib"))

REFUSED = {
    "a call": "eval('1')",
    "another name": "e = eval",
    "another name, unpacked": "a, e = 1, eval",
    "in a list": "[print, eval][1]('1')",
    "as an argument": "list(map(eval, ['1']))",
    "a decorator": "@eval\ndef f(): pass",
    "a decorator of a class": "@exec\nclass A: pass",
    "a default": "lambda x=eval: x",
    "a keyword default": "def f(*, x=eval): pass",
    "an annotation": "x: eval = 3",
    "an annotation of a result": "def f() -> eval: pass",
    "in an f-string": "f'{eval(1)}'",
    "in an f-string's width": "f'{1:{eval(2)}}'",
    "in a comprehension": "[x for x in eval('[1]') if x]",
    "walrus": "(e := eval)",
    "match": "match eval:\n    case other: pass",
    "in nested functions": "def f():\n    async def g():\n        return lambda: eval('1')",
    "awaited": "await eval('f()')",
    "of builtins": "import builtins\nbuiltins.eval('1')",
    "of builtins by another name": "from builtins import eval as e",
    "of __builtins__": "__builtins__.eval('1')",
    "an item of __builtins__": "__builtins__['eval']",
    "in the names of builtins": "__builtins__.__dict__['eval']",
    "a function of a module": "import os\nos.system('ls')",
    "of another name of a module": "import os as o\no.system('ls')",
    "of a name given to a module": "import os\no = os\no.system('ls')",
    "of a name of a name": "import os\na = b = os\nc = b\nc.system('ls')",
    "a function from a module": "from os import system",
    "another name for it": "from os import system as s",
    "all of a module": "from os import *",
    "all of its twin": "from posix import *",
    "its twin": "import posix\nposix.system('ls')",
    "by getattr": "getattr(os, 'system')('ls')",
    "by getattr of what isn't known": "getattr(os, 'sys' + 'tem')('ls')",
    "by getattr of builtins": "getattr(__builtins__, name)",
    "by __dict__": "os.__dict__['system']",
    "by __dict__ of what isn't known": "os.__dict__[name]",
    "by vars": "vars(os)['system']",
    "by get": "os.__dict__.get('system')",
    "by __getattribute__": "os.__getattribute__('system')",
    "by object's": "object.__getattribute__(os, 'system')",
    "by __import__": "__import__('os').system('ls')",
    "by importlib": "import importlib\nimportlib.import_module('os').system('ls')",
    "by importlib's function": "from importlib import import_module as f\nf('os').system('ls')",
    "by sys.modules": "import sys\nsys.modules['os'].system('ls')",
    "through another module": "import shutil\nshutil.os.system('ls')",
    "by globals": "globals()['os'].system('ls')",
    "in a loop": "for m in [sys, os]:\n    m.system('ls')",
    "in a loop of pairs": "for n, m in [(1, os)]:\n    m.system('ls')",
    "in a comprehension's name": "[m.system('ls') for m in (os,)]",
    "a default that is a module": "(lambda o=os: o.system('ls'))()",
    "one of two": "(os if 1 else sys).system('ls')",
    "or": "(None or os).system('ls')",
    "an item of a dict": "{'a': os}['a'].system('ls')",
    "with": "with os as o:\n    o.system('ls')",
    "match's other names": "match [os]:\n    case [*o]: o[0].system('ls')",
    "match's name": "match os:\n    case o: o.system('ls')",
    "an attribute": "self.o = os\nself.o.system('ls')",
    "a pattern": "os.execvp('ls', [])",
    "all of a module's": "import subprocess\nsubprocess.run('ls')",
    "around": "().__class__.__base__.__subclasses__()",
    "around, by a function": "print.__self__.eval('1')",
    "!": "!ls",
    "! in a block": "if 1:\n    !ls",
    "!!": "!!ls",
    "= !": "x = !ls",
    "%system": "%system ls",
    "%sx": "%sx ls",
    "= %sx": "x = %sx ls",
    "%%bash": "%%bash\nls",
    "%%bash below a blank line": "\n%%bash\nls",
    "%%bash not at the top": "x = 1\n%%bash\nls",
    "%%!": "%%!\nls",
    "%%sh": "%%sh\nls",
    "%%script": "%%script sh\nls",
    "%%python": "%%python\n1",
    "%run": "%run x.py",
    "%load": "%load x.py",
    "%alias": "%alias x ls",
    "%debug": "%debug",
    "no magic that is known": "%sql select 1",
    "%time": "%time eval('1')",
    "%timeit": "%timeit -n 3 -r1 eval('1')",
    "%prun": "%prun -l 5 eval('1')",
    "%%time": "%%time\neval('1')",
    "%%time of %%bash": "%%time\n%%bash\nls",
    "%time of !": "%time !ls",
    "%%timeit's line": "%%timeit eval('1')\npass",
    "%%capture": "%%capture out\neval('1')",
    "%config": "%config InlineBackend.x = eval('1')",
    "braces": "%cd {eval('1')}",
    "%time and a name of its cell": "import os as o\n%time o.system('ls')",
    "prompts": ">>> x = 1\n>>> eval('1')",
    "autocall": "/eval x",
    "autocall with quotes": ",eval x",
    "get_ipython": "get_ipython().system('ls')",
    "get_ipython by another name": "ip = get_ipython()",
    "get_ipython from a module": "from IPython import get_ipython as g\ng().system('ls')",
    "get_ipython's magic": "get_ipython().run_line_magic('sx', 'ls')",
    "get_ipython's cell magic": "get_ipython().run_cell_magic('bash', '', 'ls')",
    "get_ipython's magic of code": "get_ipython().run_cell_magic('time', '', 'eval(1)')",
    "get_ipython's magic that isn't known": "get_ipython().run_line_magic(name, 'ls')",
    "automagic: sx": "sx ls",
    "automagic: run": "run x.py",
    "automagic that looks like Python": "sx -l",
    "automagic that looks like a call": "system('ls')",
    "automagic: time": "time eval('1')",
    "pip ;": "%pip install x; ls",
    "pip &&": "%pip install x && ls",
    "pip |": "!pip install x | sh",
    "pip $(": "!pip install $(ls)",
    "pip in quotes": '!pip install "$(ls)"',
    "pip `": "!pip install `ls`",
    "pip >": "%pip install numpy>2",
    "pip and a new line": "get_ipython().system('pip install x\\nls')",
    "pip {": "%pip install {name}",
    "pip without its end": "!pip install 'x",
    "automagic pip": "pip install x; ls",
    "python -m pip": "!python3 -m pip install x & ls",
    "python -c": "!python -c 'import os'",
    "what can't be read": "x = $",
    "what has no end": "f(",
    "NUL": "x = 1\0",
    "a lone surrogate": "x = '\ud800'",
}

LET_THROUGH = {
    "nothing": "",
    "blank lines": "\n  \n",
    "a comment": "# eval",
    "a text": "'eval'",
    "a method of that name": "df.eval('a + b'); platform.system()",
    "a name that gets a value": "eval = 3",
    "a parameter": "def f(eval): pass",
    "a keyword": "f(eval=3)",
    "another function of the module": "import os\nos.getcwd(); os.path.join('a', 'b')",
    "the module alone": "import subprocess",
    "getattr of something else": "getattr(self, name)",
    "items": "data[key]; globals()['x']; rows[0]",
    "await at the top": "await f()",
    "a type that is a list": "x: list[int] = [1]",
    "%matplotlib": "%matplotlib inline\nimport matplotlib.pyplot as plt",
    "%time": "%time sum(range(3))",
    "%%time": "%%time\nx = 1",
    "%timeit": "%timeit -n 10 -r 3 {'a': 1}",
    "%%capture": "%%capture out --no-stderr\nprint(1)",
    "%config": "%config InlineBackend.figure_format = 'retina'",
    "%cd": "%cd data",
    "help": "print?\nprint??\n?print",
    "%%html": "%%html\n<b>{eval}</b>",
    "%pip": "%pip install 'numpy>2' \"pandas<3\" matplotlib[all]==1.2",
    "!pip": "!pip install numpy",
    "python -m pip": "!python -m pip list",
    "pip without a sign": "pip install numpy",
    "cd without a sign": "cd ..",
    "pip over two lines": "%pip install \\\n    numpy",
    "get_ipython's own way": "get_ipython().run_line_magic('matplotlib', 'inline')",
    "a name of a magic that gets a value": "run = 3",
    "a name of a magic": "run.finish()",
}


@pytest.mark.parametrize("cell", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(cell: str) -> None:
    """V1, V2."""
    with pytest.raises(CodeRefused) as caught:
        check_cell(cell, FUNCTIONS)
    error = caught.value
    assert error.why
    assert error.remedy
    assert 1 <= error.line <= cell.count("\n") + 1


@pytest.mark.parametrize("cell", LET_THROUGH.values(), ids=LET_THROUGH.keys())
def test_what_is_let_through(cell: str) -> None:
    check_cell(cell, FUNCTIONS)


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("import os", "import of os"),
        ("import os.path", "import of os"),
        ("import numpy, socket", "import of socket"),
        ("import numpyro", "import of numpyro"),
        ("from os import system", "import of os"),
        ("from . import x", "import of ."),
        (
            "def f():\n    try:\n        import socket\n    except ImportError: pass",
            "import of socket",
        ),
        ("__import__('os')", "import of os"),
        ("__import__(name)", "__import__ of a name"),
        ("__import__()", "__import__ of a name"),
        ("i = __import__", "__import__ by another name"),
        ("list(map(__import__, ['os']))", "__import__ by another name"),
        ("__builtins__['__import__']('os')", "import of os"),
        ("importlib.import_module('os')", "import of os"),
        ("importlib.import_module(name)", "importlib.import_module of a name"),
        ("%load_ext socket", "import of socket"),
        ("!ls", "!ls"),
    ],
)
def test_modules_that_are_not_allowed(cell: str, what: str) -> None:
    """V1: allowed_modules."""
    with pytest.raises(CodeRefused) as caught:
        check_cell(cell, MODULES)
    assert what in caught.value.what


@pytest.mark.parametrize(
    "cell",
    [
        "import numpy, numpy.linalg as linalg",
        "from numpy import *",
        "import os.path as path",
        "from os import path",
        "from os.path import join",
        "import matplotlib.pyplot as plt",
        "%load_ext numpy",
        "__import__('numpy')",
        "from __future__ import annotations",
        "eval('1')",
    ],
)
def test_modules_that_are_allowed(cell: str) -> None:
    check_cell(cell, MODULES)


@pytest.mark.parametrize(
    ("cell", "line", "spot"),
    [
        ("x = 1\n\ny = [\n    eval('1'),\n]", 4, "eval"),
        ("\n\n\neval('1')", 4, "eval"),
        ("%matplotlib inline\n!pip install x\n%cd a\neval('1')", 4, "eval"),
        ("!pip install \\\n   a \\\n   b\nx = 1\neval('1')", 5, "eval"),
        ("\n%%time\n\nx = 1\nprint(eval('1'))", 5, "eval"),
        ("%%time\n%%capture\nx = 1\neval('1')", 4, "eval"),
        ("s = '''\n\n'''\nf'''\n{1}\n'''\nexec('1')", 7, "exec"),
        ("def f(a,\n      b=eval):\n    pass", 2, "eval"),
        ("x = 1\r\ny = 2\r\neval('1')", 3, "eval"),
        ("x = 'é€𝄞'; eval('1')", 1, "eval"),
        ("\tif 1:\n\t\teval('1')", 2, "eval"),
        ("x = 'a\x0cb\u2028c'\neval('1')", 2, "eval"),
        ("exec('1'); eval('1')", 1, "exec"),
        ("import os; os.system('ls')", 1, "os.system"),
        ("if 1:\n    !ls", 2, "!ls"),
        ("x = 1\n%%bash\nls", 2, "%%bash"),
        ("x = 1\ny = $", 2, "$"),
    ],
)
def test_the_line_is_the_cells_own_and_the_caret_below_the_spot(
    cell: str, line: int, spot: str
) -> None:
    """V2: magics and shell escapes shift nothing."""
    with pytest.raises(CodeRefused) as caught:
        check_cell(cell, FUNCTIONS)
    assert caught.value.line == line
    text, carets = caught.value.excerpt
    marked = text[carets.index("^") : len(carets)]
    assert marked == spot
    assert set(carets.strip()) == {"^"}


def test_the_first_that_is_refused_is_told() -> None:
    with pytest.raises(CodeRefused) as caught:
        check_cell("!ls\neval('1')", FUNCTIONS)
    assert caught.value.line == 1


def test_what_it_says() -> None:
    with pytest.raises(CodeRefused) as caught:
        check_cell("import os as o\no.system('ls')", FUNCTIONS)
    assert str(caught.value) == textwrap.dedent(
        """\
        Nothing of this was sent:
        ----> 2 o.system('ls')
                ^^^^^^^^
        os.system is refused: the setting blocked_functions has os.system
        To mend it: do without it, or take os.system out of blocked_functions in your settings"""
    )
    assert "----> 5 o" in str(caught.value.moved(3))


def test_a_long_line_and_commands_for_a_terminal() -> None:
    with pytest.raises(CodeRefused) as caught:
        check_cell(f"x = '{'a' * 5000}\x1b[2J'; eval('1')", FUNCTIONS)
    text, carets = caught.value.excerpt
    assert text[carets.index("^") :].startswith("eval")
    assert len(text) <= 120
    assert "\x1b" not in str(caught.value)


def test_names_of_earlier_cells_are_known() -> None:
    known: Names = {}
    for cell in ("import os as o", "p = o", "o = 3\nx = 5"):
        known = check_cell(cell, FUNCTIONS, known)
    check_cell("p.getcwd()", FUNCTIONS, known)
    for cell in ("p.system('ls')", "%time o.system('ls')", "%%time\no.system('ls')"):
        with pytest.raises(CodeRefused, match=r"os\.system"):
            check_cell(cell, FUNCTIONS, known)


def test_code_that_no_ipython_reads() -> None:
    check_python("import os\nos.getcwd()", FUNCTIONS)
    with pytest.raises(CodeRefused) as caught:
        check_python("import os\n\nos.system('ls')", FUNCTIONS)
    assert caught.value.line == 3
    with pytest.raises(CodeRefused, match="can't be read"):
        check_python("!ls", FUNCTIONS)


@pytest.mark.parametrize("command", ["pip install numpy", " python3 -m pip list\n", "pip"])
def test_pip_is_let_through(command: str) -> None:
    check_command(command)


@pytest.mark.parametrize(
    "command",
    ["ls", "pip install x; ls", "pip install x\nls", "pipx run x", "pip2x", "", "x=1 pip"],
)
def test_other_commands_are_not(command: str) -> None:
    with pytest.raises(CodeRefused):
        check_command(command)


# ---- no text does harm


def check(cell: str) -> None:
    """It is let through or refused, and nothing else happens."""
    for rules in (FUNCTIONS, MODULES):
        try:
            known = check_cell(cell, rules)
            check_cell(cell, rules, known)
        except CodeRefused as exc:
            assert "^" in str(exc)  # noqa: PT017 - to be let through is right, too


@settings(max_examples=100, deadline=None)
@given(st.text())
@example("%")
@example("%%")
@example("!")
@example("?")
@example("%%time")
@example("%time")
@example("\x00%%a")
@example("\\\n!ls \\")
def test_any_text(cell: str) -> None:
    check(cell)


SIGNS = "( ) [ ] { } : , . = := * ** @ -> ; ' \" ''' f' \\ # ! % %% ? / $ ` > | & 0 1e9 é"
WORDS = "eval os system getattr __import__ __dict__ get_ipython pip install %%time %time !ls"
ENDS = ["\n", "\n    ", "\t", "\r", "\x0c", "\0"]
PIECES = [*keyword.kwlist, *SIGNS.split(), *WORDS.split(), *ENDS]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_pieces_of_python_in_any_order(pieces: list[str]) -> None:
    check(" ".join(pieces))


LINES = [
    "x = 1",
    "if x:",
    "    !ls",
    "    y = %time f(x)",
    "def f():",
    "    return [",
    "]",
    "!ls \\",
    "  -l",
    "%cd a",
    "x = !ls",
    "x = (",
    ")",
    "'''",
    "x?",
    "",
    "  ",
    ">>> y = 2",
    "... z",
    "\tz = 3",
    "/f x",
    "# !ls",
    "f'{x}'  # a",
    "a = 1; b = 2",
    "match x:",
    "  case 1: pass",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=8))
def test_what_is_checked_is_what_ipython_runs(lines: list[str]) -> None:
    """V2: the same tree; but each part keeps its line."""
    cell = "\n".join(lines)
    manager = TransformerManager()
    try:
        expected = ast.parse(manager.transform_cell(cell))
    except SyntaxError:
        return
    found = ast.parse(ipython.plain(cell))
    assert ast.dump(found) == ast.dump(expected)
    for node in ast.walk(found):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            text = cell.splitlines()[node.lineno - 1]
            assert ast.unparse(node.targets[0]) in text


DEEP = {
    "minus": "-" * 50_000 + "1",
    "sum": "1" + "+1" * 20_000,
    "attributes": "a" + ".b" * 5_000,
    "calls": "f" + "()" * 5_000,
    "brackets": "[" * 500,
    "not": "not " * 50_000 + "1",
    "lambda": "lambda:" * 20_000 + "1",
    "elif": "if a: pass\n" + "elif a: pass\n" * 20_000,
    "chain of names": "\n".join(f"a{n + 1} = a{n}" for n in range(500)),
    "itself": "a = a.b.a\n" * 100,
    "nested magics": "%time " * 100 + "x",
    "wide": "x = [" + "1, " * 10_000 + "]",
}


@pytest.mark.parametrize("cell", DEEP.values(), ids=DEEP.keys())
def test_code_that_is_deep_or_long(cell: str) -> None:
    check(cell)


def test_too_many_magics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipython, "MAX_TRANSFORMS", 5)
    with pytest.raises(CodeRefused, match="more than 5 magics"):
        check_cell("%cd a\n" * 6, FUNCTIONS)


def test_this_file_and_the_projects_own_sources_can_be_read() -> None:
    """All of Python that is in use here."""
    rules = Rules((), ("no.such.function",))
    for module in (ast, textwrap, sys.modules[__name__], sys.modules["hypothesis.core"]):
        with open(str(module.__file__), encoding="utf-8") as file:
            source = file.read()
        try:
            check_python(source, rules)
        except CodeRefused as exc:
            assert "leads around" in exc.why  # noqa: PT017 - both are right
