"""When Ctrl-C raises in a worker; what a session does with it is in test_sessions.py."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

SERVER = Path(__file__).parents[1] / "container"


def run(program: str) -> str:
    """Run a program in a process of its own, as handlers of signals are the process's."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"PYTHONPATH": str(SERVER)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_an_interrupt_in_the_hooks_of_a_fork_is_not_lost() -> None:
    """C3: Python swallows what is raised there, and IPython's history has such a hook."""
    program = """
        import asyncio, os, signal, time, warnings
        from docker_kernel_server.interrupts import Interrupts

        warnings.simplefilter("ignore")  # Python 3.12 warns of a fork beside threads

        async def cell():
            interrupts.task = asyncio.current_task()
            with interrupts.running("a"):
                interrupts.doom("a")
                pid = os.fork()
                if not pid:
                    os._exit(0)
                os.waitpid(pid, 0)
                print("forked", flush=True)
                time.sleep(30)

        loop = asyncio.new_event_loop()
        interrupts = Interrupts(loop)
        interrupts.code = cell.__code__
        os.register_at_fork(before=lambda: signal.raise_signal(signal.SIGINT))
        interrupts.follow_forks()
        try:
            loop.run_until_complete(cell())
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert run(program) == "forked\ninterrupted\n"
