"""Many tools at once, from threads and under event loops (A6), and how they are called off."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from docker_kernel import aio, cancelling, tools
from docker_kernel.contact import ContainerClient
from tooling import ALIASES, CALLS, SURFACE, gate, using
from wire import PATIENCE, Server, gone


@pytest.fixture
def client(server: Server) -> Iterator[ContainerClient]:
    """A client of the server, and in use."""
    with using(server.port) as made:
        yield made


# ---- many at once, and loops


def together(folder: Path, count: int, number: int) -> str:
    """A command that ends only when so many of its kind run at the same time."""
    return (
        f"touch {folder}/{number}; until [ $(ls {folder} | wc -l) = {count} ]; do sleep 0.1; done"
    )


@pytest.mark.usefixtures("client")
class TestAtOnce:
    def test_many_threads(self, tmp_path: Path) -> None:
        """A6: no lock is held while a command runs."""
        count = 24

        def one(number: int) -> bool:
            return tools.run_shell_command(together(tmp_path, count, number), timeout=60)["success"]

        with ThreadPoolExecutor(count) as pool:
            assert all(pool.map(one, range(count)))

    def test_many_coroutines(self, tmp_path: Path) -> None:
        """A6: more than a loop's executor has threads for."""
        count = 40

        async def all_of_them() -> Any:
            return await asyncio.gather(
                *(
                    aio.run_shell_command(together(tmp_path, count, number), timeout=60)
                    for number in range(count)
                )
            )

        assert all(result["success"] for result in asyncio.run(all_of_them()))

    def test_under_a_running_loop(self) -> None:
        """A6, M8: the plain function blocks the loop, and works."""

        async def call() -> str:
            return tools.run_python_code("print(1)")["stdout"]

        assert asyncio.run(call()) == "1\n"

    def test_each_coroutine_gives_what_its_function_gives(self) -> None:
        async def call(name: str, arguments: tuple[Any, ...]) -> Any:
            return await getattr(aio, name)(*arguments)

        for name, arguments in CALLS.items():
            result = asyncio.run(call(name, arguments))
            assert set(result) - {"error"} == SURFACE[ALIASES.get(name, name)][1], name

    def test_the_loop_goes_on_meanwhile(self, tmp_path: Path) -> None:
        wait, path = gate(tmp_path)

        async def both() -> str:
            call = asyncio.ensure_future(aio.run_shell_command(f"{wait}; echo $x"))
            await asyncio.to_thread(path.write_text, "from the loop\n")
            return (await call)["stdout"]

        assert asyncio.run(both()) == "from the loop\n"

    def test_a_coroutine_raises_what_its_function_raises(self) -> None:
        def fail(_stream: str, _text: str) -> None:
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            asyncio.run(aio.run_shell_command("echo on", stream_output=fail))


@pytest.mark.usefixtures("client")
class TestCancelling:
    """A6: the command in the container ends."""

    @pytest.mark.parametrize("trap", ["", "trap '' INT TERM; "], ids=["willing", "stubborn"])
    def test_a_task(self, server: Server, trap: str) -> None:
        async def cancel() -> None:
            loop, begun = asyncio.get_running_loop(), asyncio.Event()
            call = asyncio.ensure_future(
                aio.run_shell_command(
                    f"{trap}echo on; sleep 4321; sleep 4321",
                    stream_output=lambda *_: loop.call_soon_threadsafe(begun.set),
                )
            )
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

        asyncio.run(cancel())
        assert gone(server, "sleep 4321")

    def test_a_command_may_clean_up(self, tmp_path: Path) -> None:
        """It gets Ctrl-C, and its end is waited for."""
        cleaned = tmp_path / "cleaned"
        command = (
            f"trap 'sleep 0.1; touch {cleaned}; exit' INT; echo on; while :; do sleep 0.05; done"
        )

        async def cancel() -> None:
            loop, begun = asyncio.get_running_loop(), asyncio.Event()
            call = asyncio.ensure_future(
                aio.run_shell_command(
                    command, stream_output=lambda *_: loop.call_soon_threadsafe(begun.set)
                )
            )
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert cleaned.exists()

        asyncio.run(cancel())

    def test_waiting_for_so_long(self, server: Server) -> None:
        async def wait() -> None:
            await asyncio.wait_for(aio.run_python_code("import time; time.sleep(4321)"), 1)

        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(wait())
        assert gone(server, "-u -c")
        assert tools.run_shell_command("true")["success"]

    def test_before_it_has_begun(self, server: Server) -> None:
        """What is called off while the server is still being reached is never run."""
        cancellation = cancelling.Cancellation()
        cancellation.cancel()
        cancelling.current.set(cancellation)
        try:
            with pytest.raises(cancelling.CalledOff):
                tools.run_shell_command("touch never-begun")
        finally:
            cancelling.current.set(None)
        assert not (server.folder / "never-begun").exists()

    @pytest.mark.parametrize(
        "call",
        [
            "tools.run_shell_command({!r}, stream_output=True)",
            "asyncio.run(aio.run_shell_command({!r}, stream_output=True))",
        ],
        ids=["function", "coroutine"],
    )
    def test_ctrl_c(self, server: Server, call: str) -> None:
        code = f"import asyncio; from docker_kernel import aio, tools; {call}"
        program = subprocess.Popen(
            [sys.executable, "-c", code.format("echo on; sleep 4321")],
            env={**os.environ, "DOCKER_HOST": "localhost", "DOCKER_PORT": str(server.port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with program:
            assert program.stdout is not None
            assert program.stdout.readline() == "on\n"
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=PATIENCE)
        assert errors.splitlines()[-1] == "KeyboardInterrupt"
        assert program.returncode == -signal.SIGINT
        assert gone(server, "sleep 4321")
