"""IPython's syntax and magics, and the payloads that some of them send."""

from __future__ import annotations

from . import because, case, cell, done

NO_EDITOR = because(
    "Some frontends start an editor by a shell of their machine, with this name in its line.",
    "shell 1 execute_reply: content.payload",
)

SHELL = [
    case("a command", "!echo shell"),
    case("a command's lines", "lines = !echo a; echo b\nlines"),
    case("a command's exit code", "!exit 3\n_exit_code"),
    case("a command with a variable", "v = 'word'\n!echo {v} $v"),
    case("a command that isn't there", "!no-such-command"),
    case("a command in the background", "!sleep 1 &"),
    case("%%bash", "%%bash\necho out"),
    case("%%bash that fails", "%%bash\nexit 3"),
    case("%%bash on stderr", "%%bash\necho err >&2"),
    case("%%sh --out", "%%sh --out found\necho out", done, "found"),
    case("%%script", "%%script python3\nprint('script')"),
    case("%sx", "%sx echo a"),
]

MAGICS = [
    case("%%capture", "%%capture caught\nprint('a')\ndisplay('b')\n1", done,
         "caught.stdout, caught.outputs", "caught()"),
    case("%%writefile", "%%writefile written.txt\nline", "%cat written.txt", "%ls written.txt"),
    case("%run", "%%writefile script.py\nprint(__name__)\nscripted = 1", "%run script.py",
         "scripted"),
    case("%run of what fails", "%%writefile failing.py\n1 / 0", done, "%run failing.py"),
    case("%%time", "%%time\n6"),
    case("%time", "%time 6"),
    case("%%html", "%%html\n<b>x</b>"),
    case("%%javascript", "%%javascript\n1"),
    case("%%latex", "%%latex\nx"),
    case("%%markdown", "%%markdown\n*x*"),
    case("%%svg", "%%svg\n<svg xmlns='http://www.w3.org/2000/svg'/>"),
    case("%env", "%env NEW=1\n%env NEW"),
    case("%cd", "%cd /tmp\n%cd -q -"),
    case("%gui", "%gui asyncio"),
    case("%who", "%who_ls str"),
    case("%precision", "%precision 2\n3.14159", "%precision"),
    case("%xdel", "gone = 1\n%xdel gone\ngone"),
    case("%history", "%history -l 1"),
    case("%rerun", "a_value = 7", "%rerun"),
    case("%store", "kept = 5\n%store kept"),
    case("%autosave", "%autosave 30"),
    case("%autosave of no number", "%autosave x"),
    case("%clear", "%clear"),
    case("the magics", """
        magics = get_ipython().magics_manager.magics
        [sorted({*magics[kind]} - {'docker'}) for kind in ('line', 'cell')]  # which is ours alone
        """),
]  # fmt: skip

PAYLOADS = [
    case("?", "len?"),
    case("??", "soon??"),
    case("? of nothing", "no_such_name?"),
    case("a pattern and ?", "in*?"),
    case("%pinfo", "%pinfo len"),
    case("%page", "%page a_value"),
    case("%load", "%load written.txt"),
    case("%recall", "%recall 1"),
    case("%less", "%less written.txt"),
    case("%less of Python", "%less script.py"),
    case("%less of nothing", "%less"),
    case("%more", "%more written.txt"),
    case("%edit", "%edit written.txt", differs=NO_EDITOR),
    case("%edit at a line", "%ed -n 3 script.py", differs=NO_EDITOR),
    case("set_next_input", "get_ipython().set_next_input('next')"),
    case("set_next_input, replacing", "get_ipython().set_next_input('next', replace=True)"),
    case("a payload of a cell that fails", "get_ipython().set_next_input('n')\n1 / 0"),
    case("a payload of a silent cell", cell("len?", silent=True)),
    case("exit that keeps the kernel", "exit(keep_kernel=True)", done,
         "get_ipython().keepkernel_on_exit = None"),
    case("exit's own text", "exit.__class__.__name__, quit.__class__.__name__"),
]  # fmt: skip
