"""A cell's own working folder and environment, and those before back at its end."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, Iterator, Optional

from .errors import RequestRefused


@contextlib.contextmanager
def surroundings(cwd: Optional[str], env: Dict[str, Any]) -> Iterator[None]:
    """While a cell runs. `RequestRefused` where there is no such folder or variable.

    What the cell itself changes stays, but for the folder and the variables that are named here.
    """
    with contextlib.ExitStack() as stack:
        try:
            _enter_environment(env, stack)
            if cwd is not None:
                _enter_folder(cwd, stack)
        except (OSError, ValueError) as exc:
            raise RequestRefused(f"the cell was not run: {exc}") from exc
        yield


def _enter_environment(env: Dict[str, Any], stack: contextlib.ExitStack) -> None:
    for name, value in env.items():
        if not isinstance(value, str):
            raise RequestRefused(f"the cell was not run: 'env' must hold strings, not {value!r}")
        stack.callback(_restore, name, os.environ.get(name))
        os.environ[name] = value


def _restore(name: str, value: Optional[str]) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _enter_folder(cwd: str, stack: contextlib.ExitStack) -> None:
    # A descriptor finds the folder again, whatever has been renamed since.
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    stack.callback(os.close, before)
    stack.callback(os.fchdir, before)
    os.chdir(cwd)
