"""ps, stop, logs and exec, on containers of ours and of others."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound

from docker_kernel.backends import inventory
from docker_kernel.backends.inventory import Container, containers
from docker_kernel.backends.labels import PREFIX, labels
from docker_kernel.backends.owners import Owner
from docker_kernel.cli import main
from docker_kernel.cli.choosing import complete_containers, connect
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire
from kernels import PATIENCE
from system import wait_until

PROGRAM = "import sys; from docker_kernel.cli import main; sys.exit(main())"
COMMAND = [sys.executable, "-c", PROGRAM]


def settings(image: str) -> Settings:
    return Settings(image=image, mount_workspace=False)


def name_of(sandbox: Sandbox) -> str:
    note = sandbox.handover()
    assert note is not None
    return note["container"]


@pytest.fixture(scope="module")
def name(image: str) -> Iterator[str]:
    """A container of this process's, that runs."""
    sandbox = Sandbox(settings(image))
    sandbox.client()
    yield name_of(sandbox)
    sandbox.stop()


@pytest.fixture
def made(image: str, docker_client: docker.DockerClient) -> Iterator[Callable[..., str]]:
    """Makes containers that are not started, with the labels of an owner."""
    names: list[str] = []

    def create(name: str, owner: Owner | None, **more: str) -> str:
        words = {f"{PREFIX}owner.{key}": value for key, value in (owner or ME).words().items()}
        marks = {**labels("kernel", name), **words, **more} if owner else more
        docker_client.api.create_container(image, "true", name=name, labels=marks)
        names.append(name)
        return name

    yield create
    for item in names:
        with suppress(NotFound):
            docker_client.api.remove_container(item, force=True)


ME = Owner.me()
SOMEBODY = replace(ME, user="somebody")


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    code = main([*words, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def is_there(client: docker.DockerClient, name: str) -> bool:
    try:
        client.api.inspect_container(name)
    except NotFound:
        return False
    return True


def pause(client: docker.DockerClient, name: str) -> None:
    """Pause a container; the engine can't always freeze one at once where the machine is busy."""

    def paused() -> bool:
        with suppress(APIError):
            client.api.pause(name)
            return True
        return False

    assert wait_until(paused, PATIENCE)


# -- ps


def test_ps(
    name: str, image: str, made: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = made("docker-kernel-dk7e7701", SOMEBODY)
    copied = made("docker-kernel-dk7e7702", ME, **{f"{PREFIX}name": name})
    foreign = made("docker-kernel-dk7e7703", None)
    found = {item["name"]: item for item in as_json(capsys, "ps")["containers"]}
    assert not {copied, foreign} & set(found)
    ours = found[name]
    assert ours["owner"] == {"pid": os.getpid(), "user": ME.user, "host": ME.host}
    assert (ours["owner_is"], ours["mine"], ours["kind"]) == ("alive", True, "kernel")
    assert (ours["image"], ours["state"]) == (image, "running")
    assert 2**20 < ours["memory_bytes"] < ours["memory_limit_bytes"] == 2 * 2**30
    assert ours["cpu_percent"] >= 0
    theirs = found[other]
    assert (theirs["owner_is"], theirs["mine"], theirs["state"]) == ("unknown", False, "created")
    assert theirs["memory_bytes"] is None
    capsys.readouterr()
    assert main(["ps"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["NAME", "IMAGE", "STATE"]
    (row,) = [row for row in rows if row.startswith(name)]
    assert row.split()[1:3] == [image, "running"]
    assert "of 2.0 GB" in row
    assert f"{ME.user} {os.getpid()} alive" in row


TELL = "from docker_kernel.backends.owners import Owner; print(Owner.me().words(), flush=True)"
WAIT = f"import sys; {TELL}; sys.stdin.read()"


def test_ps_names_the_kernel_and_the_notebook_and_sees_when_the_owner_is_dead(
    made: Callable[..., str],
) -> None:
    def look(name: str) -> list[Container]:
        with connect() as engine:
            return [item for item in containers(engine, Deadline(60)) if item.name == name]

    with subprocess.Popen(
        [sys.executable, "-c", WAIT, "-f", "/run/kernel-4711.json"],
        env={**os.environ, "JPY_SESSION_NAME": "/home/me/a.ipynb"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        owner = Owner.read(ast.literal_eval(process.stdout.readline()))
        name = made("docker-kernel-dk7e7704", owner)
        (item,) = look(name)
        process.kill()
    assert (item.kernel, item.notebook, item.owner_is) == ("4711", "/home/me/a.ipynb", "alive")
    # Whoever starts a kernel on this engine sweeps it: then it isn't there at all.
    assert [item.owner_is for item in look(name)] in (["dead"], [])


def test_ps_without_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    for verb in (["ps"], ["stop", "x"], ["stop", "--all"], ["logs", "x"]):
        assert main(verb) == 1
        assert "To mend it" in capsys.readouterr().err
    assert main(["exec", "x", "true"]) == 125
    assert complete_containers() == []


# -- stop


def test_stop_lets_the_code_say_good_bye(
    image: str, docker_client: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox(settings(image))
    try:
        client = sandbox.client()
        stopped = name_of(sandbox)
        assert as_json(capsys, "stop", stopped.removeprefix("docker-kernel-")) == {
            "items": [{"kind": "container", "name": stopped, "outcome": "stopped", "why": ""}]
        }
        assert not is_there(docker_client, stopped)
        # Who used it lives on, and its next start makes a new one.
        again = sandbox.client()
        assert name_of(sandbox) != stopped
        assert again.ask(wire.Status(again.new_id()), PATIENCE)
        assert client.lost
    finally:
        sandbox.stop()


def test_stop_ends_a_paused_container(
    image: str, docker_client: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox(settings(image))
    try:
        sandbox.client()
        pause(docker_client, name_of(sandbox))
        assert main(["stop", name_of(sandbox)]) == 0
        assert capsys.readouterr().out == f"stopped: container {name_of(sandbox)}\n"
        assert not is_there(docker_client, name_of(sandbox))
    finally:
        sandbox.stop()


def test_stop_leaves_alone_what_is_of_others_and_all_where_one_name_is_wrong(
    made: Callable[..., str], docker_client: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = made("docker-kernel-dk7e7711", ME)
    theirs = made("docker-kernel-dk7e7712", SOMEBODY)
    far = made("docker-kernel-dk7e7713", replace(ME, space="x", host="mars"))
    foreign = made("docker-kernel-dk7e7714", None)
    for wrong, why in [
        (theirs, "it belongs to the user somebody"),
        (far, "mars"),
        (foreign, "no container"),
        ("nothing", "no container"),
    ]:
        assert main(["stop", mine, wrong]) == 1
        said = capsys.readouterr().err
        assert why in said
        assert ("--any-owner" in said) is (wrong in (theirs, far))
    assert is_there(docker_client, mine)
    assert main(["stop", mine, theirs, "--any-owner"]) == 0
    there = [item for item in (mine, theirs, far, foreign) if is_there(docker_client, item)]
    assert there == [far, foreign]


def test_stop_all(
    made: Callable[..., str],
    docker_client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = [made(f"docker-kernel-dk7e772{number}", ME) for number in range(2)]
    theirs = made("docker-kernel-dk7e7727", SOMEBODY)
    helper = made("docker-kernel-probe-dk7e7728", ME, **{f"{PREFIX}kind": "probe"})
    # Beside the tests others have containers on this engine: what is to be stopped is ours alone.
    few = lambda *given: [x for x in containers(*given) if "dk7e772" in x.name]  # noqa: E731
    monkeypatch.setattr(inventory, "containers", few)

    def run(*words: str) -> str:
        assert main(["stop", "--all", *words]) == 0
        return capsys.readouterr().out

    stopped = [f"stopped: container {name}\n" for name in mine]
    kept = f"kept: container {theirs}: it belongs to the user somebody\n"
    assert run() == "".join([*stopped, kept])
    assert is_there(docker_client, helper)
    assert run() == f"{kept}There is nothing to stop.\n"
    assert run("--any-owner") == f"stopped: container {theirs}\n"
    assert run() == "There is nothing to stop.\n"


@pytest.mark.parametrize(
    "words", [["stop"], ["stop", "x", "--all"], ["exec", "x"], ["exec", "x", "--"]]
)
def test_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


# -- logs


def test_logs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", name]) == 0
    whole = capsys.readouterr().out
    assert "listening on" in whole
    assert main(["logs", name, "--tail", "1"]) == 0
    assert capsys.readouterr().out == whole.splitlines(keepends=True)[-1]
    assert main(["logs", name, "--tail", "0"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["logs", "nothing"]) == 1


def test_logs_that_are_followed_end_with_the_container(
    image: str, docker_client: docker.DockerClient
) -> None:
    name = "docker-kernel-dk7e7731"
    docker_client.containers.run(
        image,
        ["sh", "-c", r"printf 'o\033[2J\303\244\r\n'; read line; echo $line; read line"],
        name=name,
        labels=labels("kernel", name),
        stdin_open=True,
        detach=True,
        network_mode="none",
    )
    command = [*COMMAND, "logs", "--follow", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            # What would clear a terminal does nothing here.
            assert process.stdout.readline() == "o[2Jä\n"
            with connect() as found, closing(found.attach(name, Deadline(60))) as attached:
                attached.send_line(b"two", last=False)
            assert process.stdout.readline() == "two\n"
        finally:
            docker_client.api.remove_container(name, force=True)
        assert process.stdout.read() == ""
    assert process.returncode == 0


# -- exec


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "exec", *words], input=stdin, capture_output=True, timeout=PATIENCE, check=False
    )


def test_exec_passes_streams_and_the_exit_code_on(name: str) -> None:
    data = bytes(range(256)) * 4096
    done = run(name, "sh", "-c", "cat; id -u >&2; pwd >&2; exit 7", stdin=data)
    assert done.returncode == 7
    assert done.stdout == data
    assert done.stderr == b"1000\n/workspace\n"


def test_exec_keeps_the_words_of_the_command(name: str) -> None:
    done = run(name.removeprefix("docker-kernel-"), "--", "printf", "%s|", "-c", "a b", "--json")
    assert (done.returncode, done.stdout) == (0, b"-c|a b|--json|")


@pytest.mark.parametrize("command", ["no-such-command", "/etc/passwd"])
def test_exec_what_can_not_be_executed(name: str, command: str) -> None:
    done = run(name, command)
    assert done.returncode in (126, 127)  # which one depends on the engine's version
    assert command.encode() in done.stdout + done.stderr


def test_exec_where_nothing_runs(
    made: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = made("docker-kernel-dk7e7741", ME)
    theirs = made("docker-kernel-dk7e7742", SOMEBODY)
    for name, why in [(stopped, "it is created"), (theirs, "--any-owner"), ("x", "no container")]:
        assert main(["exec", name, "true"]) == 125
        assert why in capsys.readouterr().err


def test_exec_on_a_terminal(name: str) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    before = termios.tcgetattr(theirs)
    said = b""

    def wait_for(words: bytes) -> None:
        nonlocal said
        while words not in said:
            assert select.select([terminal], [], [], PATIENCE)[0], said
            said += terminal.read(1000)

    # Without a shell in the end: one that just waits for stty swallows the Ctrl-C with it.
    script = "tty; read word; echo got $word; stty size; exec sh -c 'echo on; exec sleep 60'"
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        command = [*COMMAND, "exec", name, "sh", "-c", script]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            wait_for(b"/dev/pts/")
            terminal.write(b"hello\r")
            wait_for(b"got hello")
            wait_for(b"33 77\r\non")
            terminal.write(b"\x03")  # Ctrl-C is the command's, and not ours
            assert process.wait(PATIENCE) == 130
        assert termios.tcgetattr(theirs) == before
        os.close(theirs)


def test_names_are_completed(name: str) -> None:
    assert name in complete_containers()
