"""The functions of `docker_kernel.tools` as coroutines, under the same names.

Cancelling one (a task's ``cancel``, ``asyncio.wait_for``) ends its command in the container.
A ``stream_output`` function is called in another thread than the event loop's.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from . import cancelling, tools
from .commands import CANCEL_SECONDS
from .launcher import in_thread
from .tools import __all__ as __all__

P = ParamSpec("P")
R = TypeVar("R")

SETTLE_SECONDS = CANCEL_SECONDS + 1.0
"""How long the end of a call that is cancelled is waited for; a container that still starts takes
longer, and is then there for the next call."""


def _coroutine(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        cancellation = cancelling.Cancellation()
        context = contextvars.copy_context()
        context.run(cancelling.current.set, cancellation)
        # Not asyncio.to_thread: it has a few threads, and a command may take hours.
        work = functools.partial(context.run, function, *args, **kwargs)
        waiting = asyncio.wrap_future(in_thread(work, function.__name__))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            cancellation.cancel()
            await asyncio.wait([waiting], timeout=SETTLE_SECONDS)
            raise
        finally:
            waiting.add_done_callback(_look_at)

    return call


def _look_at(waiting: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more, and asyncio would complain of an exception that nobody saw."""
    if not waiting.cancelled():
        waiting.exception()


ContainerClient = tools.ContainerClient
create_docker_client = _coroutine(tools.create_docker_client)
set_docker_client = _coroutine(tools.set_docker_client)
get_docker_client = _coroutine(tools.get_docker_client)
test_docker_connection = _coroutine(tools.test_docker_connection)
run_python_script = _coroutine(tools.run_python_script)
run_shell_command = _coroutine(tools.run_shell_command)
run_python_code = _coroutine(tools.run_python_code)
run_in_docker = run_shell_command
run_python_in_docker = run_python_code
install_package = _coroutine(tools.install_package)
list_installed_packages = _coroutine(tools.list_installed_packages)
check_python_syntax = _coroutine(tools.check_python_syntax)
get_environment_info = _coroutine(tools.get_environment_info)
create_log_file = _coroutine(tools.create_log_file)
append_to_log = _coroutine(tools.append_to_log)
