"""A shell that needs nothing but Python: state, values, tracebacks, completion, rich output.

It serves where the image has no IPython and is too old for the lent one. What it shows follows
IPython's forms: the cell is called ``<cell 3>`` in tracebacks, the last value is ``_``, and an
object's ``_repr_html_`` and its sisters are asked for a MIME bundle.
"""

from __future__ import annotations

import ast
import codeop
import contextlib
import inspect
import keyword
import linecache
import re
import rlcompleter
import shlex
import subprocess
import sys
import traceback
import types
import warnings
from typing import Any, Dict, List, Optional, Tuple

from ..errors import RequestRefused
from ..messages import CommInfo, Complete, Execute, History, Inspect, IsComplete, Request
from . import Console, Reply, Shell, trim

MAX_HISTORY_CELLS = 10_000

_REPRS = {
    "_repr_html_": "text/html",
    "_repr_markdown_": "text/markdown",
    "_repr_latex_": "text/latex",
    "_repr_svg_": "image/svg+xml",
    "_repr_png_": "image/png",
    "_repr_jpeg_": "image/jpeg",
    "_repr_json_": "application/json",
    "_repr_javascript_": "application/javascript",
    "_repr_pdf_": "application/pdf",
}
_PIP = re.compile(r"\s*[%!]?\s*pip\s+(.+)")
_MAGIC = re.compile(r"^\s*(%%?[a-z]|!)|=\s*(%[a-z]|!)", re.IGNORECASE | re.MULTILINE)
_QUESTION = re.compile(r"\s*\?*([\w.]+)\?*\s*")
_INSTALL = "Type: %pip install ipython, then restart the kernel."


class PlainShell(Shell):
    """A session's namespace, and what runs its cells."""

    name = "plain"

    def __init__(self, console: Console) -> None:
        self._console = console
        self._count = 1
        self._history: List[Tuple[int, int, Any]] = []
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self.names: Dict[str, Any] = module.__dict__
        self.names["display"] = self.display
        self.names["exit"] = self.names["quit"] = self.exit
        self._flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        sys.displayhook = self._show

    def info(self) -> Dict[str, Any]:
        version = sys.version.replace("\n", " ")
        return {
            "shell": self.name,
            "banner": f"Python {version} (plain shell)\n",
            "execution_count": self._count,
        }

    def variables(self) -> Dict[str, Any]:
        return self.names

    def set_variables(self, values: Dict[str, Any]) -> None:
        self.names.update(values)

    async def execute(self, request: Execute) -> Reply:
        count = self._count
        name = f"<cell {count}>"
        lines = request.code.splitlines(keepends=True)
        # Tracebacks find the cell's lines here; linecache forgets what has no size but keeps this.
        linecache.cache[name] = (len(request.code), None, lines, name)
        if request.store_history and not request.silent:
            self._history.append((0, count, request.code))
            del self._history[:-MAX_HISTORY_CELLS]
        try:
            await self._run(request.code, name, request.silent)
        except BaseException as exc:  # noqa: BLE001 - SystemExit ends no session either
            reply = self._fail(exc, name)
        else:
            reply = {"status": "ok", "user_expressions": self._expressions(request)}
        payload = [{"source": "ask_exit", "keepkernel": False}] if self.exit_requested else []
        if request.store_history and not request.silent:
            self._count += 1
        reply.update(execution_count=count, payload=payload)
        return reply

    def abandoned(self, exc: BaseException) -> Reply:
        reply = self._fail(exc, "")
        reply.update(execution_count=self._count, payload=[])
        return reply

    async def _run(self, code: str, name: str, silent: bool) -> None:
        pip = _PIP.fullmatch(code)
        if pip is not None:
            _run_pip(shlex.split(pip.group(1)))
            return
        tree = _parse(code, name)
        last = tree.body[-1] if tree.body else None
        value = isinstance(last, ast.Expr) and not silent and not _ends_quiet(code)
        body = tree.body[:-1] if value else tree.body
        if body:
            module = ast.Module(body, [])
            await self._eval(compile(module, name, "exec", self._flags, True))
        if value and isinstance(last, ast.Expr):
            expression = ast.Expression(last.value)
            self._show(await self._eval(compile(expression, name, "eval", self._flags, True)))

    async def _eval(self, code: types.CodeType) -> Any:
        result = eval(code, self.names)  # noqa: S307 - running code is what this is for
        if code.co_flags & inspect.CO_COROUTINE:
            result = await result
        return result

    def _show(self, value: Any) -> None:
        if value is None:
            return
        self.names["_"] = value
        data, metadata = mime_bundle(value)
        self._console.emit("result", data=data, metadata=metadata, execution_count=self._count)

    def display(self, *values: Any) -> None:
        """Show each value with its richest form."""
        for value in values:
            data, metadata = mime_bundle(value)
            self._console.emit("display", data=data, metadata=metadata)

    def exit(self) -> None:
        """End the session after this cell, as in IPython."""
        self.exit_requested = True

    def _fail(self, exc: BaseException, name: str) -> Reply:
        """Show the error, from the first frame that is the person's."""
        frames = exc.__traceback__
        while frames is not None and name and frames.tb_frame.f_code.co_filename != name:
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(exc), exc, trim(frames)))
        lines = text.rstrip("\n").split("\n")
        reply = {"ename": type(exc).__name__, "evalue": _text_of(exc), "traceback": lines}
        self._console.emit("error", **reply)
        return {"status": "error", "user_expressions": {}, **reply}

    def _expressions(self, request: Execute) -> Dict[str, Any]:
        out: Dict[str, Any] = {}
        for key, code in request.user_expressions.items():
            try:
                data, metadata = mime_bundle(eval(code, self.names))  # noqa: S307
                out[key] = {"status": "ok", "data": data, "metadata": metadata}
            except Exception as exc:  # noqa: BLE001 - the person's code
                out[key] = {
                    "status": "error",
                    "ename": type(exc).__name__,
                    "evalue": _text_of(exc),
                    "traceback": traceback.format_exception_only(type(exc), exc),
                }
        return out

    def complete(self, request: Complete) -> Reply:
        start, word = _word_before(request.code, request.cursor_pos)
        completer = rlcompleter.Completer(self.names)
        matches: List[str] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for index in range(1000):
                match = completer.complete(word, index) if word else None
                if match is None:
                    break
                matches.append(match.rstrip("() ") if not keyword.iskeyword(match) else match)
        return {
            "status": "ok",
            "matches": list(dict.fromkeys(matches)),
            "cursor_start": start,
            "cursor_end": request.cursor_pos,
            "metadata": {},
        }

    def inspect(self, request: Inspect) -> Reply:
        end = request.cursor_pos
        while end < len(request.code) and (request.code[end].isalnum() or request.code[end] == "_"):
            end += 1
        _, word = _word_before(request.code, end)
        reply: Reply = {"status": "ok", "found": False, "data": {}, "metadata": {}}
        try:
            value = self._lookup(word)
        except (LookupError, AttributeError):
            return reply
        parts = [f"Type: {type(value).__name__}", f"String form: {_safe_repr(value)[:200]}"]
        if callable(value):
            with contextlib.suppress(TypeError, ValueError):
                parts.insert(0, f"Signature: {word}{inspect.signature(value)}")
        doc = inspect.getdoc(value)
        if doc:
            parts.append(f"Docstring:\n{doc}")
        if request.detail_level:
            with contextlib.suppress(OSError, TypeError):
                parts.append(f"Source:\n{inspect.getsource(value)}")
        reply.update(found=True, data={"text/plain": "\n".join(parts)})
        return reply

    def _lookup(self, word: str) -> Any:
        first, *rest = word.split(".")
        value = self.names[first] if first in self.names else vars(sys.modules["builtins"])[first]
        for name in rest:
            value = getattr(value, name)
        return value

    def is_complete(self, request: IsComplete) -> Reply:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                compiled = codeop.compile_command(request.code, "<cell>", "exec")
            except (SyntaxError, OverflowError, ValueError):
                return {"status": "invalid"}
        lines = request.code.rstrip(" ").split("\n")
        if compiled is not None and (len(lines) == 1 or not lines[-1].startswith(" ")):
            return {"status": "complete"}
        last = next((line for line in reversed(lines) if line.strip()), "")
        indent = len(last) - len(last.lstrip()) + (4 if last.rstrip().endswith(":") else 0)
        return {"status": "incomplete", "indent": " " * indent}

    def history(self, request: History) -> Reply:
        access = request.access
        rows = list(self._history)
        kind = access.get("hist_access_type")
        if kind == "range":
            start, stop = access.get("start") or 0, access.get("stop")
            rows = [row for row in rows if row[1] >= start and (stop is None or row[1] < stop)]
        elif kind == "search":
            parts = re.split(r"([*?])", access.get("pattern") or "*")
            glob = "".join({"*": ".*", "?": "."}.get(p, re.escape(p)) for p in parts)
            rows = [row for row in rows if re.fullmatch(glob, row[2], re.DOTALL)]
        if kind in ("tail", "search") and access.get("n"):
            rows = rows[-int(access["n"]) :]
        if access.get("output"):
            rows = [(session, line, (source, None)) for session, line, source in rows]
        return {"status": "ok", "history": rows}

    def comm_info(self, request: CommInfo) -> Reply:
        return {"status": "ok", "comms": {}}

    def comm(self, request: Request, buffers: Optional[List[bytes]]) -> None:
        raise RequestRefused("this session has no comms: widgets need IPython in the image")


def _run_pip(arguments: List[str]) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)


def _parse(code: str, name: str) -> ast.Module:
    """The cell's tree; a SyntaxError that says so where the code is IPython's."""
    try:
        return ast.parse(code, name)
    except SyntaxError:
        question = _QUESTION.fullmatch(code)
        if question is not None and "?" in code:
            raise SyntaxError(
                f"{code.strip()} needs IPython; the plain way is help({question.group(1)}). "
                f"{_INSTALL}"
            ) from None
        if _MAGIC.search(code):
            raise SyntaxError(
                "magics and shell commands (% and !) need IPython, and this image has none. "
                f"{_INSTALL}"
            ) from None
        raise


def mime_bundle(value: Any) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """What an object says of itself: (MIME type -> data, MIME type -> metadata)."""
    data: Dict[str, Any] = {"text/plain": _safe_repr(value)}
    metadata: Dict[str, Any] = {}
    if isinstance(value, type):
        return data, metadata
    bundle = _call(value, "_repr_mimebundle_")
    if isinstance(bundle, tuple):
        metadata.update(bundle[1])
        bundle = bundle[0]
    if isinstance(bundle, dict):
        data.update(bundle)
    for name, mime in _REPRS.items():
        form = _call(value, name)
        if isinstance(form, tuple):
            form, metadata[mime] = form
        if form is not None and mime not in data:
            data[mime] = form
    return data, metadata


def _call(value: Any, name: str) -> Any:
    # Asked of the type, so that an object that answers to every name isn't taken by its word.
    method = getattr(type(value), name, None)
    if method is None:
        return None
    try:
        return method(value)
    except Exception:  # noqa: BLE001 - a form that fails is left out
        return None


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as exc:  # noqa: BLE001 - the person's code
        return f"<{type(value).__name__} whose repr raises {type(exc).__name__}>"


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as inner:  # noqa: BLE001 - the person's code
        return f"<the exception's text could not be had: {type(inner).__name__}>"


def _ends_quiet(code: str) -> bool:
    """Whether the cell ends in ``;``, which keeps its value from being shown."""
    last = code.rstrip().rsplit("\n", 1)[-1].split("#")[0]
    return last.rstrip().endswith(";")


def _word_before(code: str, cursor: int) -> Tuple[int, str]:
    match = re.search(r"[\w.]*$", code[:cursor])
    word = match.group() if match else ""
    return cursor - len(word), word
