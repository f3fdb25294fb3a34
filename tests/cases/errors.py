"""Cells that fail, and cells that are interrupted."""

from __future__ import annotations

from . import ask, case, cell, done, interrupt, shown, together

ERRORS = [
    case("an exception", "def f():\n    return 1 / 0\n\nf()"),
    case("an exception with a note", "e = ValueError('v')\ne.add_note('a note')\nraise e"),
    case("an exception without a text", "raise ValueError"),
    case("an exception of one's own", "class Own(Exception): pass\nraise Own('a', 1)"),
    case("a SyntaxError", "for in x:"),
    case("an IndentationError", "if 1:\nx = 1"),
    case("an unfinished text", "x = '"),
    case("a NameError", "no_such_name"),
    case("an ImportError", "import no_such_module"),
    case("KeyboardInterrupt", "raise KeyboardInterrupt"),
    case("KeyboardInterrupt with a text", "raise KeyboardInterrupt('why')"),
    case("SystemExit", "raise SystemExit"),
    case("sys.exit(3)", "sys.exit(3)"),
    case("sys.exit(0)", "sys.exit(0)"),
    case("GeneratorExit", "raise GeneratorExit"),
    case("CancelledError", "raise asyncio.CancelledError"),
    case("an error from another", """
        try:
            1 / 0
        except Exception as exc:
            raise ValueError('b') from exc
        """),
    case("an error in the handling of another", """
        try:
            1 / 0
        except Exception:
            {}['k']
        """),
    case("an ExceptionGroup", "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])"),
    case("an assertion", "assert 1 == 2, 'no'"),
    case("an error after output", "print('before')\ndisplay('too')\n1 / 0"),
    case("an error in exec", "exec('1 / 0')"),
    case("an error in Python's library", "import json\njson.loads('{')"),
    case("an error in another cell's function", "def g(): {}['k']", "g()"),
    case("an error in a value's repr", """
        class E:
            def __repr__(self):
                raise ValueError('no repr')
        E()
        """),
    case("an error in a display", "display(E())"),
    case("an error deep in a value's repr", "[E()]"),
    case("an error in _repr_html_", """
        def no_html(self):
            raise ValueError('no html')
        class H:
            _repr_html_ = no_html
            def __repr__(self): return 'H'
        H()
        """),
    case("a magic that isn't there", "%no_such_magic"),
    case("a cell magic that isn't there", "%%no_such_magic\n1"),
    case("xmode", "%xmode Minimal", done, "1 / 0", done, "%xmode Context"),
    case("xmode Plain", "%xmode Plain", done, "1 / 0", done, "%xmode Context"),
    case("no colours", "%colors nocolor", "1 / 0", done, "%colors linux"),
    case("%tb", "1 / 0", done, "%tb"),
    case("showtraceback", """
        try:
            1 / 0
        except Exception:
            get_ipython().showtraceback()
        5
        """),
    case("a handler of one's own", """
        def handler(self, etype, value, tb, tb_offset=None): print('handled', value)
        get_ipython().set_custom_exc((ZeroDivisionError,), handler)
        """, done, "1 / 0", done, "get_ipython().set_custom_exc((), None)"),
]  # fmt: skip

STOPPING = [
    case("what is queued behind an error", *together("queued", "1 / 0", "'aborted'",
         cell("'too'", silent=True)), done, "'alive'"),
    case("other requests behind an error", *together("others", "1 / 0",
         ask("is_complete_request", code="1"), "2")),
    case("stop_on_error is off", *together("off", cell("1 / 0", stop_on_error=False), "'goes on'")),
    case("a silent error", *together("silent", cell("1 / 0", silent=True), "'goes on'")),
    case("a SyntaxError stops too", *together("syntax", "for in x:", "'aborted'"), done, "'alive'"),
    case("an exit stops too", *together("exit", "sys.exit()", "'aborted'"), done, "'alive'"),
    case("two errors", *together("two", "1 / 0", "1 / 0"), done, "1 / 0", done, "'alive'"),
]  # fmt: skip

INTERRUPTS = [
    case("interrupt of a loop", "soon()\nwhile True: pass", shown("up"), interrupt),
    case("interrupt of sleep", "soon()\ntime.sleep(60)", shown("up"), interrupt),
    case("interrupt of a command", "!echo up; sleep 60", shown("up"), interrupt),
    case("interrupt of a subprocess", "soon()\nsubprocess.run(['sleep', '60'])", shown("up"),
         interrupt),
    case("interrupt of await", "soon()\nawait asyncio.sleep(60)", shown("up"), interrupt),
    case("interrupt of a join", "soon()\nthreading.Event().wait()", shown("up"), interrupt),
    case("interrupt and what is queued", *together("up", "soon()\ntime.sleep(60)", "'aborted'"),
         shown("up"), interrupt, done, "'alive'"),
    case("an interrupt that is caught", """
        try:
            soon()
            time.sleep(60)
        except KeyboardInterrupt:
            print('caught')
        """, shown("up"), interrupt),
    case("interrupt of nothing", interrupt, done, "'alive'"),
]  # fmt: skip

ASYNC = [
    case("await", "await asyncio.sleep(0, 'waited')"),
    case("async for", "async def numbers():\n    yield 1\nasync for i in numbers(): print(i)"),
    case("an error in await", "async def bad(): 1 / 0\nawait bad()"),
    case("a task that outlives its cell", """
        async def later():
            await asyncio.sleep(0.01)
            print('from a task')
        task = asyncio.create_task(later())
        """, done, shown("from a task")),
    case("a task of an earlier cell", """
        async def three(): return 3
        t = asyncio.ensure_future(three())
        """, done, "await t"),
    case("asyncio.run", "c = asyncio.sleep(0)\ntry: asyncio.run(c)\nfinally: c.close()"),
    case("%autoawait", "%autoawait"),
]  # fmt: skip
