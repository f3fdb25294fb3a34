"""Short programs that the tools run in the container, with its Python (3.8 or later), by ``-c``.

They import nothing from the working folder: a file there may be called json.py.
"""

from __future__ import annotations

_SAFE_IMPORT = "import sys; path = sys.path[:]; sys.path[:] = filter(None, path)\n"

_BEGIN = """\
def run():
    import sys
    path = sys.path[:]
    sys.path[:] = filter(None, path)
    import linecache, os, traceback
    sys.path[:] = path
    own, space = run.__code__.co_filename, globals()
    del space["run"]
"""
_TAKE_ALL = """\
    name, code = "<code>", sys.stdin.buffer.read()
"""
_TAKE_SOME = """\
    name, size, code = sys.argv[1], int(sys.argv[2]), b""
    while len(code) < size:
        code += os.read(0, size - len(code)) or sys.exit("the code did not arrive as a whole")
    sys.argv[:] = sys.argv[3:]
    if name.startswith("/"):
        space["__file__"] = name
        if sys.path[:1] == [""]:
            sys.path[0] = os.path.dirname(name)
"""
_GO = """\
    code = code.decode("utf-8")
    linecache.cache[name] = len(code), None, [x + "\\n" for x in code.split("\\n")], name
    def show(kind, error, where):
        while where and where.tb_frame.f_code.co_filename == own:
            where = where.tb_next
        traceback.print_exception(kind, error, where)
    sys.excepthook = show
    exec(compile(code, name, "exec", dont_inherit=True), space)
run()
"""

RUN_CODE = _BEGIN + _TAKE_ALL + _GO
"""Runs the code on standard input as a module of its own, with its lines in tracebacks."""

RUN_TEXT = _BEGIN + _TAKE_SOME + _GO
"""The same for a program with a sys.argv and an input of its own. Its arguments: what tracebacks
call the code, its size in bytes, and then that sys.argv. The input follows the code."""

CHECK_SYNTAX = """\
import json, sys, warnings
warnings.simplefilter("ignore")
answer = {"syntax_error": None}
try:
    with open(sys.argv[1], "rb") as file:
        source = file.read()
    compile(source, sys.argv[1], "exec", dont_inherit=True)
except OSError as exc:
    answer["error"] = "%s: %s" % (sys.argv[1], exc.strerror)
except SyntaxError as exc:
    answer["syntax_error"] = {"message": exc.msg, "line": exc.lineno, "column": exc.offset}
except (ValueError, OverflowError, RecursionError, MemoryError) as exc:
    text = str(exc) or type(exc).__name__
    answer["syntax_error"] = {"message": text, "line": None, "column": None}
print(json.dumps(answer))
"""
"""Compiles the file that is its argument, and writes nothing."""

READ_SCRIPT = """\
import json, sys, tokenize
with tokenize.open(sys.argv[1]) as file:
    print(json.dumps(file.read()))
"""
"""The text of the file that is its argument, as Python would decode it."""

LIST_PACKAGES = f"""\
{_SAFE_IMPORT}import json, re
from importlib import metadata
found = {{}}
for item in metadata.distributions():
    name = item.metadata["Name"]
    if name:
        key = re.sub("[-_.]+", "-", name).lower()
        found.setdefault(key, {{"name": name, "version": item.version}})
print(json.dumps([found[key] for key in sorted(found)]))
"""
"""What is installed, of each package the one that an import would find."""

LOOK_AROUND = f"""\
{_SAFE_IMPORT}import json, os, platform
print(json.dumps({{
    "python_version": platform.python_version(),
    "platform": platform.platform(),
    "platform_system": platform.system(),
    "working_directory": os.getcwd(),
}}))
"""

LIST_ORIGINS = f"""\
{_SAFE_IMPORT}import json, re
from importlib import metadata
found = {{}}
for item in metadata.distributions():
    name = item.metadata["Name"]
    if name:
        key = re.sub("[-_.]+", "-", name).lower()
        found.setdefault(key, [name, item.version, item.read_text("direct_url.json")])
print(json.dumps(found))
"""
"""The same by name, and for what came from no index the text that tells where from (PEP 610)."""

COPY_FILE = """\
import os, shutil, sys
source, target = sys.argv[1:]
if not (os.path.exists(target) and os.path.samefile(source, target)):
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    shutil.copyfile(source, target)
"""
"""Copies its first argument to its second."""
