"""JupyterLab's display of resources shows the container, not this machine (X1)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kernels import PATIENCE, Kernel, Message
from system import wait_until

MEBI = 1 << 20


@pytest.fixture(scope="module")
def kernel(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    os.chown(folder, 1000, 1000)
    with Kernel(f"--image={image}", "--memory=512m", "--cpus=1", folder=folder) as running:
        yield running


def usage(kernel: Kernel) -> Message:
    """The content of a usage_reply."""
    channel = kernel.client.control_channel
    request = kernel.client.session.msg("usage_request")
    channel.send(request)
    reply = channel.get_msg(timeout=PATIENCE)
    assert reply["msg_type"] == "usage_reply"
    assert reply["parent_header"]["msg_id"] == request["header"]["msg_id"]
    content: Message = reply["content"]
    return content


def test_before_the_container_is_there(folder: Path, image: str) -> None:
    """An honest answer at once, and no start because of it."""
    nowhere = {"DOCKER_HOST": f"unix://{folder}/nowhere.sock"}
    with Kernel(f"--image={image}", folder=folder, env=nowhere) as kernel:
        content = usage(kernel)
        assert content["pid"] == kernel.pid
        assert content["kernel_memory"] == content["host_virtual_memory"]["total"] == 0
        assert content["kernel_cpu"] == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.chown(tmp_path, 1000, 1000)
    return tmp_path


def test_it_is_the_containers(kernel: Kernel) -> None:
    cell = kernel.run("import os, socket; socket.gethostname(), os.getpid()")
    content = usage(kernel)
    assert cell.result == str((content["hostname"], content["pid"]))
    assert content["cpu_count"] == 1
    # What ipykernel sends on every platform; a frontend may rely on it.
    assert content.keys() >= {"hostname", "pid", "kernel_cpu", "kernel_memory", "cpu_count"}
    assert psutil.virtual_memory()._fields[:5] == ("total", "available", "percent", "used", "free")
    assert content["host_virtual_memory"].keys() >= set(psutil.virtual_memory()._fields[:5])
    memory = content["host_virtual_memory"]
    assert memory["total"] == 512 * MEBI
    assert memory["used"] + memory["available"] == memory["total"]
    assert 0 < content["kernel_memory"] <= memory["used"]


def test_memory_of_the_kernel_grows(kernel: Kernel) -> None:
    kernel.run("1")
    before = usage(kernel)
    kernel.run("kept = bytearray(100 << 20)")
    after = usage(kernel)
    kernel.run("del kept")
    for key in ("kernel_memory", "used"):
        grown = {**after, **after["host_virtual_memory"]}[key]
        grown -= {**before, **before["host_virtual_memory"]}[key]
        assert 90 * MEBI < grown < 130 * MEBI, key


def test_files_that_were_read_are_not_used_memory(kernel: Kernel) -> None:
    before = usage(kernel)["host_virtual_memory"]["used"]
    kernel.run(
        "with open('big', 'wb') as file: file.write(bytes(100 << 20))\n"
        "with open('big', 'rb') as file: file.read()"
    )
    after = usage(kernel)["host_virtual_memory"]["used"]
    (kernel.folder / "big").unlink()
    assert after - before < 50 * MEBI


def test_cpu_while_a_cell_runs(kernel: Kernel) -> None:
    looks = [usage(kernel)]

    def is_busy() -> bool:
        looks.append(usage(kernel))
        return bool(looks[-1]["kernel_cpu"] > 50)

    def look(message: Message) -> None:
        if message["msg_type"] == "stream":
            assert wait_until(is_busy, PATIENCE)
            kernel.manager.interrupt_kernel()

    kernel.run("print('on')\nwhile True: pass", during=look)
    assert 0 < looks[-1]["host_cpu_percent"] <= 100


def test_children_count(kernel: Kernel) -> None:
    before = usage(kernel)["kernel_memory"]
    kernel.run(
        "import subprocess, sys\n"
        "code = 'kept = bytearray(64 << 20); print(1, flush=True); input()'\n"
        "pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child = subprocess.Popen([sys.executable, '-c', code], **pipes)\n"
        "child.stdout.readline()"
    )
    after = usage(kernel)["kernel_memory"]
    kernel.run("child.communicate(b'x')")
    assert after - before > 60 * MEBI
