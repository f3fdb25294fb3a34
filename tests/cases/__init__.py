"""What is asked of our kernel and of ipykernel to see whether they answer the same.

A case is a name and some steps. A step that is a text is a cell; the others send something else, or
wait. Where the two differ and should, the case says where and why.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

from frontend import Frontend, Message

Step = Callable[[Frontend], None]

SETUP = """
import asyncio, os, subprocess, sys, threading, time
from IPython.core.compilerop import CachingCompiler

# ipykernel names a cell after a file that isn't there, and some versions of IPython then show a
# traceback without its colours and context. Ours doesn't: so let ipykernel do better too.
if type(get_ipython().compile).__module__ == "ipykernel.compiler":
    get_ipython().compile = CachingCompiler()

def soon():
    # A cell says that it's on its way.
    threading.Timer(0.05, print, ["up"]).start()
"""
"""A cell that runs in both kernels before all cases."""


@dataclass(frozen=True)
class Case:
    """Some steps; ``differs`` has the places where the kernels differ, each with the reason."""

    name: str
    steps: tuple[Step, ...]
    differs: dict[str, str] = field(default_factory=dict)


def case(name: str, *steps: Step | str, differs: dict[str, str] | None = None) -> Case:
    """A case."""
    made = tuple(cell(step) if isinstance(step, str) else step for step in steps)
    return Case(name, made, differs or {})


def because(reason: str, *places: str) -> dict[str, str]:
    """Several places that differ for one reason."""
    return dict.fromkeys(places, reason)


# ---- steps -----------------------------------------------------------------------------------


def cell(code: str, *, metadata: Message | None = None, **content: object) -> Step:
    """Send a cell, with the keys that a frontend sends unless ``content`` says otherwise."""
    whole = {
        "code": textwrap.dedent(code).removeprefix("\n"),
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
        **content,
    }
    return lambda frontend: frontend.send("execute_request", whole, metadata=metadata)


def ask(kind: str, *, buffers: list[bytes] | None = None, **content: object) -> Step:
    """Send a request on the shell channel."""
    return lambda frontend: frontend.send(kind, content, buffers=buffers)


def control(kind: str, **content: object) -> Step:
    """Send a request on the control channel."""
    return lambda frontend: frontend.send(kind, content, "control")


interrupt = control("interrupt_request")


def done(frontend: Frontend) -> None:
    """Wait for the end of what was sent so far."""
    frontend.done()


def shown(text: str) -> Step:
    """Wait for a text on stdout or stderr."""

    def is_there(_: str, message: Message) -> bool:
        return message["msg_type"] == "stream" and text in message["content"]["text"]

    return lambda frontend: frontend.wait(is_there)


def came(kind: str) -> Step:
    """Wait for a message of this type."""
    return lambda frontend: frontend.wait(lambda _, message: message["msg_type"] == kind)


def answer(value: str) -> Step:
    """Wait for the next question, and answer it."""
    return lambda frontend: frontend.answer(value)


def touch(name: str) -> Step:
    """Make a file in the kernel's folder; `WAIT` is how a cell waits for it."""
    return lambda frontend: (frontend.folder / name).touch()


WAIT = "while not os.path.exists({0!r}): time.sleep(0.01)"


def together(name: str, *steps: Step | str) -> tuple[Step, ...]:
    """Steps that have all been sent before the first begins."""
    made = [cell(step) if isinstance(step, str) else step for step in steps]
    return cell(WAIT.format(name)), *made, lambda frontend: frontend.fence("control"), touch(name)
