"""%docker in the docker kernel: what it does with its container, and what it refuses.

One kernel for all: each test takes it as the one before has left it. What needs no container to be
shown is in ../test_managed.py.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound

from docker_kernel.backends.committing import COMMITTED, NAMESPACE
from docker_kernel.backends.docker import Engine
from docker_kernel.backends.inventory import containers
from docker_kernel.backends.sweeping import sweep
from docker_kernel.backends.volumes import LIKE_LABEL
from docker_kernel.cli import main
from docker_kernel.commands import Command, run
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import UsageError
from docker_kernel.manage import keeping
from docker_kernel.sandbox import Sandbox
from kernels import Cell, Kernel, Message
from system import wait_until
from wheels import wheel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook's folder, of an ordinary user: the tests may run as root."""
    made = tmp_path_factory.mktemp("notebook")
    os.chown(made, 1000, 1000)
    return made


@pytest.fixture(scope="module")
def kernel(image: str, folder: Path) -> Iterator[Kernel]:
    env = "--Settings.env=SECRET_THING=x y"
    with Kernel(f"--image={image}", env, folder=folder) as running:
        assert hostname(running)
        yield running


def hostname(kernel: Kernel) -> str:
    """The container's id, as far as it is its host name."""
    return str(kernel.run("import socket; socket.gethostname()").result).strip("'")


def running(client: docker.DockerClient) -> set[str]:
    return {container.short_id for container in client.containers.list(ignore_removed=True)}


def inspect(client: docker.DockerClient, image: str) -> dict[str, Any]:
    found: dict[str, Any] = client.images.get(image).attrs
    return found


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


# ---- files ---------------------------------------------------------------------------------------


def test_files_that_the_container_sees_anyway(kernel: Kernel, folder: Path) -> None:
    """It copies them itself: root's kernel lends its rights to no cell."""
    (folder / "data.txt").write_text("data")
    shown(kernel.run("%docker put data.txt\n%docker put data.txt /tmp/there/data.txt"))
    assert kernel.run("open('/tmp/there/data.txt').read()").result == "'data'"
    shown(kernel.run("%docker get /tmp/there/data.txt 'with space'"))
    assert (folder / "with space").read_text() == "data"
    assert "name a file, not a folder" in kernel.run("%docker put data.txt /tmp").error
    (folder / "data.txt").chmod(0o600)
    if os.getuid() == 0:
        refused = kernel.run("%docker put data.txt /tmp/x").error
        assert "was not copied: Permission denied: '/workspace/data.txt'" in refused
        assert "To mend it: see who may: !id" in refused
    assert "isn't in the workspace" in kernel.run("%docker put ../x").error
    assert "No such file" in kernel.run("%docker get /tmp/none").error


# ---- what stays ---------------------------------------------------------------------------------


def test_what_was_installed_is_written_down(
    kernel: Kernel, folder: Path, image: str, docker_client: docker.DockerClient
) -> None:
    """And the image that is built of it has that, and nothing else."""
    wheels = folder / "wheels"
    wheels.mkdir()
    for name in ("kept_two", "kept_three"):
        wheel(wheels, name)
    assert kernel.run("%pip install -q --no-index --find-links wheels kept_two").status == "ok"
    package = "wheels/kept_three-1.0-py3-none-any.whl"
    assert kernel.run(f"%pip install -q --no-index {package}").status == "ok"
    kernel.run("open('/tmp/thing', 'w').close()")
    text = shown(kernel.run("%docker freeze"))
    assert f"1 packages on top of {image}" in text
    assert "kept_three 1.0 came from file:///workspace/wheels/kept_three-1.0-py3-none" in text
    assert "/tmp (1)" in text
    for name in ("Dockerfile", "requirements.txt"):
        assert (folder / name).stat().st_uid == 1000
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["kept_two==1.0"]
    # Not over what is there, but where that is asked for.
    (folder / "Dockerfile").write_text("mine\n")
    refused = kernel.run("%docker freeze")
    assert "has a Dockerfile and a requirements.txt already" in refused.error
    assert (folder / "Dockerfile").read_text() == "mine\n"
    shown(kernel.run("%docker freeze --force"))
    text = (folder / "Dockerfile").read_text()
    assert f"FROM {image}\n" in text
    # No index is to be had for these; they lie here.
    more = "COPY wheels /wheels\nENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels\nCOPY req"
    (folder / "Dockerfile").write_text(text.replace("COPY req", more))
    built, _ = docker_client.images.build(path=str(folder), rm=True)
    try:
        look = "import kept_two, importlib.util; print(importlib.util.find_spec('kept_three'))"
        said = docker_client.containers.run(str(built.id), ["python3", "-c", look], remove=True)
        assert said == b"None\n"
    finally:
        docker_client.images.remove(str(built.id))


@pytest.fixture(scope="module")
def kept(docker_client: docker.DockerClient) -> Iterator[str]:
    """The name of an image that tests make."""
    name = f"{NAMESPACE}test-{secrets.token_hex(4)}:1"
    yield name
    with suppress(ImageNotFound):
        docker_client.images.remove(name)


def test_an_image_of_what_was_installed(
    kernel: Kernel, folder: Path, image: str, kept: str, docker_client: docker.DockerClient
) -> None:
    """The package is there in a kernel of the image, and the image is as its base is."""
    package = wheel(folder, "kept_one").name
    assert kernel.run(f"%pip install -q --no-index ./{package}").status == "ok"
    text = shown(kernel.run(f"%docker commit {kept.removeprefix(NAMESPACE)}"))
    assert f"jupyter docker-kernel install --image {kept}" in text
    made, base = (inspect(docker_client, name)["Config"] for name in (kept, image))
    for key in ("Entrypoint", "Cmd"):
        assert (made[key] or []) == (base[key] or [])
    assert (made["User"], made["WorkingDir"]) == ("0", "/")
    found = dict(line.split("=", 1) for line in made["Env"])
    assert found["SECRET_THING"] == ""
    assert found["LANG"] == "C.UTF-8"
    labels = made["Labels"]
    assert {name for name, value in labels.items() if value} == {COMMITTED, LIKE_LABEL}
    # Also for who knows nothing of this project.
    plain = docker_client.containers.run(
        kept, ["python3", "-c", "import kept_one; print(kept_one.name)"], remove=True
    )
    assert plain == b"kept_one\n"


def test_a_container_of_the_image(kept: str) -> None:
    """What is lent to its base is lent to it, too: nothing has to be unpacked and compiled."""
    said: list[str] = []
    sandbox = Sandbox(Settings(image=kept, mount_workspace=False), said.append)
    with closing(sandbox.connection()) as client:
        done = run(client, Command("python3 -c 'import kept_one; print(kept_one.name)'"))
    sandbox.stop()
    assert done.stdout == "kept_one\n"
    assert not any("preparing" in text for text in said)


def test_this_notebook_in_its_own_image(
    kernel: Kernel, image: str, kept: str, docker_client: docker.DockerClient
) -> None:
    """Nobody has to be asked for what the same folder's code has made. Once more, it grows."""
    assert kept in shown(kernel.run(f"%docker image {kept}"))
    assert kernel.run("import kept_one; kept_one.name").result == "'kept_one'"
    path = str(kernel.run("import os; os.environ['PATH']").result)
    assert path.count("/tmp/home/.local/bin") == 1
    first = inspect(docker_client, kept)["Id"]
    kernel.run("open('/tmp/more', 'w').close()")
    assert "is there" in shown(kernel.run(f"%docker commit {kept}"))
    made = inspect(docker_client, kept)
    assert made["Id"] != first
    assert made["Config"]["Env"].count("SECRET_THING=") == 1
    assert made["Config"]["Labels"][LIKE_LABEL] == inspect(docker_client, image)["Id"]


def test_containers_of_the_image_are_not_ours(
    kept: str, docker_client: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """E8: neither a sweep nor prune touches them, and ps and stop see none."""
    container = docker_client.containers.run(kept, ["sleep", "600"], detach=True, init=True)
    try:
        assert container.labels[COMMITTED]
        assert main(["prune"]) == 0
        assert f"removed: container {container.name}" not in capsys.readouterr().out
        with closing(Engine(os.environ, Deadline(10))) as engine:
            assert container.name not in {c.name for c in containers(engine, Deadline(10))}
            sweep(engine)
        container.reload()
        assert container.status == "running"
    finally:
        container.remove(force=True)


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("Big", "can't be an image's name"),
        ("a//b", "can't be an image's name"),
        ("a:b:c", "can't be an image's name"),
        ("'a --pull'", "can't be an image's name"),
        ("theirs", "choose another name"),
        ("alike", "choose another name"),
    ],
)
def test_names_that_are_not_for_a_cell(
    kernel: Kernel, image: str, kept: str, docker_client: docker.DockerClient, tag: str, words: str
) -> None:
    """An image of somebody else's keeps its name; also where it is made of one of ours."""
    source = {"theirs": image, "alike": kept}.get(tag)
    if source:
        docker_client.images.get(source).tag(f"{NAMESPACE}{tag}", "latest")
    before = inspect(docker_client, source)["Id"] if source else ""
    try:
        cell = kernel.run(f"%docker commit {tag}")
        assert cell.reply["content"]["ename"] == "UsageError"
        assert words in cell.error
        if source:
            name = f"{NAMESPACE}{tag}:latest"
            assert inspect(docker_client, name)["Id"] == before
            # Nor does it come without a question.
            assert "nobody can be asked" in kernel.run(f"%docker image {name}").error
    finally:
        if source:
            docker_client.images.remove(f"{NAMESPACE}{tag}:latest")


def test_what_is_in_memory_can_not_be_kept(image: str) -> None:
    sandbox = Sandbox(Settings(image=image, tmp_size="64m", mount_workspace=False))
    sandbox.client()
    with pytest.raises(UsageError, match="/tmp is in memory") as caught:
        keeping.commit(sandbox, "mine", print, "use")
    sandbox.stop()
    assert "%docker freeze" in caught.value.remedy


# ---- the end -------------------------------------------------------------------------------------


def test_the_end_removes_the_container(kernel: Kernel, docker_client: docker.DockerClient) -> None:
    last = hostname(kernel)
    kernel.manager.shutdown_kernel()
    assert wait_until(lambda: last not in running(docker_client), 10)
    assert not kernel.note.exists()
