"""%docker in the docker kernel: what it does with its container, and what it refuses.

One kernel for all: each test takes it as the one before has left it. What needs no container to be
shown is in ../test_managed.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from kernels import Cell, Kernel, Message
from system import wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook's folder, of an ordinary user: the tests may run as root."""
    made = tmp_path_factory.mktemp("notebook")
    os.chown(made, 1000, 1000)
    return made


@pytest.fixture(scope="module")
def kernel(image: str, folder: Path) -> Iterator[Kernel]:
    with Kernel(f"--image={image}", folder=folder) as running:
        assert hostname(running)
        yield running


def hostname(kernel: Kernel) -> str:
    """The container's id, as far as it is its host name."""
    return str(kernel.run("import socket; socket.gethostname()").result).strip("'")


def running(client: docker.DockerClient) -> set[str]:
    return {container.short_id for container in client.containers.list(ignore_removed=True)}


def shown(cell: Cell) -> str:
    """The text of what a cell displays."""
    assert cell.status == "ok", cell
    found = [m["content"]["data"] for m in cell.messages if m["msg_type"] == "display_data"]
    return "\n".join(data["text/plain"] for data in found)


def test_what_there_is(kernel: Kernel, image: str) -> None:
    text = shown(kernel.run("%docker\n%docker sessions\n%docker limits\n%docker logs"))
    assert image in text
    assert "2048 MiB" in text
    assert "DOCKER_KERNEL_MEMORY=4g" in text
    assert "listening on" in text


# ---- another container ---------------------------------------------------------------------------


def test_reset(kernel: Kernel, docker_client: docker.DockerClient) -> None:
    """A fresh container, whose cells count from one; a cell of a subshell gets an honest error."""
    first = hostname(kernel)
    kernel.run("x = 1; open('/tmp/gone', 'w').close(); open('kept', 'w').close()")
    assert "fresh container" in shown(kernel.run("%docker reset"))
    assert first not in running(docker_client)
    state = kernel.run("import os; 'x' in globals(), *map(os.path.exists, ['/tmp/gone', 'kept'])")
    assert state.result == "(False, False, True)"
    assert state.reply["content"]["execution_count"] == 1
    assert hostname(kernel) in running(docker_client)


def test_another_image_is_for_a_person_to_allow(kernel: Kernel, ipython_image: str) -> None:
    """Code that nobody has read must not choose among a person's images, nor what is pulled."""
    before = hostname(kernel)
    refused = kernel.run(f"%docker image {ipython_image}")
    assert refused.reply["content"]["ename"] == "UsageError"
    assert "nobody can be asked" in refused.error
    asked: list[str] = []

    def no(prompt: str) -> str:
        asked.append(prompt)
        return "no"

    assert "you didn't say yes" in kernel.run(f"%docker image {ipython_image}", answer=no).error
    assert ipython_image in asked[0]
    assert hostname(kernel) == before


def test_an_image_that_can_not_be_had_changes_nothing(kernel: Kernel, nopython_image: str) -> None:
    before = hostname(kernel)
    kernel.run("x = 1")
    for name, kind in [(nopython_image, "ImageHasNoPython"), ("Not/A/Name", "ImageNotFound")]:
        cell = kernel.run(f"%docker image {name}", answer=lambda _prompt: "y")
        assert cell.reply["content"]["ename"] == kind
    assert (hostname(kernel), kernel.run("x").result) == (before, "1")


def test_a_question_can_be_interrupted(kernel: Kernel) -> None:
    def interrupt(_prompt: str) -> None:
        kernel.manager.interrupt_kernel()

    cell = kernel.run("%docker image some/other", answer=interrupt)
    assert cell.reply["content"]["ename"] == "KeyboardInterrupt"
    assert "nothing was changed" in cell.error


def test_another_image(
    kernel: Kernel, image: str, ipython_image: str, docker_client: docker.DockerClient
) -> None:
    """It stays over a restart, and the way back to the configured one is free."""
    before = hostname(kernel)
    cell = kernel.run(f"%docker image {ipython_image}", answer=lambda _prompt: "yes")
    assert ipython_image in shown(cell)
    assert before not in running(docker_client)
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    assert kernel.run("import IPython; IPython.__version__").result == "'8.5.0'"
    assert ipython_image in shown(kernel.run("%docker"))
    assert image in shown(kernel.run(f"%docker image {image}"))


def test_a_cell_that_runs_meanwhile_is_told(kernel: Kernel) -> None:
    """A reset in a subshell, under a cell of the main shell."""
    client = kernel.client
    content = client.session.msg("create_subshell_request", {})
    client.control_channel.send(content)
    subshell = client.get_control_msg(timeout=60)["content"]["subshell_id"]
    request = client.session.msg(
        "execute_request", {"code": "%docker reset", "silent": False, "store_history": True}
    )
    request["header"]["subshell_id"] = subshell

    def reset(message: Message) -> None:
        if message["msg_type"] == "stream":
            client.shell_channel.send(request)

    cell = kernel.run("print('on')\nwhile True: pass", during=reset)
    assert "the session was closed" in cell.error
    assert kernel.run("1 + 1").result == "2"


# ---- the end -------------------------------------------------------------------------------------


def test_the_end_removes_the_container(kernel: Kernel, docker_client: docker.DockerClient) -> None:
    last = hostname(kernel)
    kernel.manager.shutdown_kernel()
    assert wait_until(lambda: last not in running(docker_client), 10)
    assert not kernel.note.exists()
