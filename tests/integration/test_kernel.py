"""The kernel and its container: started, restarted, killed, removed.

What needs no container to be shown is in ../test_kernel.py.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import docker
import psutil
import pytest
from docker.errors import NotFound

from docker_kernel import launcher as launching
from kernels import Kernel, Message
from system import wait_until
from wheels import wheel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A notebook's folder, of an ordinary user: the tests may run as root."""
    os.chown(tmp_path, 1000, 1000)
    return tmp_path


def hostname(kernel: Kernel) -> str:
    """The container's id, as far as it is its host name."""
    return str(kernel.run("import socket; socket.gethostname()").result).strip("'")


def is_there(client: docker.DockerClient, container: str) -> bool:
    try:
        client.containers.get(container)
    except NotFound:
        return False
    return True


def test_a_cell_runs_in_a_container(
    image: str, folder: Path, docker_client: docker.DockerClient
) -> None:
    (folder / "data.txt").write_text("from the notebook's folder")
    with Kernel(f"--image={image}", folder=folder) as kernel:
        assert hostname(kernel) in {c.short_id for c in docker_client.containers.list()}
        assert kernel.run("import os; os.getcwd()").result == "'/workspace'"
        assert kernel.run("open('data.txt').read()").result == '"from the notebook\'s folder"'
        assert kernel.run("os.getuid() != 0").result == "True"
        kernel.run("open('made.txt', 'w').write('x')")
        version = kernel.run("import platform; platform.python_version()").result
        assert kernel.ask("kernel_info")["language_info"]["version"] in str(version)
    assert (folder / "made.txt").stat().st_uid == 1000


def test_the_first_completion_has_nothing_to_look_up(image: str, folder: Path) -> None:
    """K5: in a fresh container, too; JupyterLab waits no longer than a second."""
    with Kernel(f"--image={image}", folder=folder) as kernel:
        known = "import jedi; from pathlib import Path\n"
        known += "sorted(map(str, Path(jedi.settings.cache_directory).rglob('*.pkl')))"
        # They come with what is imported while nobody asks.
        assert wait_until(lambda: ".pkl" in str(kernel.run(known).result), 60)
        before = kernel.run(known).result
        assert kernel.ask("complete", "pri", 3)["matches"] == ["print"]
        assert kernel.run(known).result == before


def test_shutdown_removes_the_container(
    image: str, folder: Path, docker_client: docker.DockerClient
) -> None:
    with Kernel(f"--image={image}", folder=folder) as kernel:
        container = hostname(kernel)
        kernel.run("import threading, time; threading.Thread(target=time.sleep, args=[60]).start()")
        assert kernel.note.exists()
        kernel.manager.shutdown_kernel()
        assert not is_there(docker_client, container)
        assert not kernel.note.exists()


def test_sigterm_removes_the_container(
    image: str, folder: Path, docker_client: docker.DockerClient
) -> None:
    with Kernel(f"--image={image}", folder=folder) as kernel:
        container = hostname(kernel)
        os.kill(kernel.pid, signal.SIGTERM)
        assert wait_until(lambda: not is_there(docker_client, container), 10)


def test_restart_keeps_the_container_and_drops_variables(image: str, folder: Path) -> None:
    with Kernel(f"--image={image}", folder=folder) as kernel:
        container = hostname(kernel)
        version = kernel.run("import platform; platform.python_version()").result
        assert f"'{json.loads(kernel.note.read_text())['python']}'" == version
        kernel.run("x = 1; open('/tmp/kept', 'w').close()")
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=60)
        cell = kernel.run("import os; 'x' in globals(), os.path.exists('/tmp/kept')")
        assert cell.result == "(False, True)"
        assert cell.reply["content"]["execution_count"] == 1
        assert hostname(kernel) == container


def test_an_end_before_the_container_is_taken_over(
    image: str, folder: Path, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K9: a restart right after a restart keeps it too, and a shutdown removes it."""
    monkeypatch.setattr(launching, "AHEAD_SECONDS", 60.0)  # nobody asks these kernels anything
    monkeypatch.setattr(launching, "SETTLE_SECONDS", 60.0)
    with Kernel(f"--image={image}", folder=folder) as kernel:
        container = hostname(kernel)
        os.kill(kernel.pid, signal.SIGKILL)
        assert wait_until(kernel.has_ended, 10)
        connection_file = kernel.note.with_suffix(".json")
        words = [f"--image={image}", f"--workspace={folder}", f"-f={connection_file}"]
        for restart in (True, False):
            launcher = launching.Launcher(words)
            launcher.wait_until_waiting()
            assert not launcher.opening.done()
            launcher.stop(restart)
            assert is_there(docker_client, container) is kernel.note.exists() is restart


def test_a_restart_ends_the_cell_that_runs(image: str, folder: Path) -> None:
    with Kernel(f"--image={image}", folder=folder) as kernel:
        kernel.client.execute("print('running')\nwhile True: pass")
        kernel.next_output(lambda message: message["msg_type"] == "stream")
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=60)
        assert kernel.run("1").result == "1"


KILL_THE_SERVER = """
import os, signal
from pathlib import Path
for process in Path("/proc").glob("[0-9]*"):
    if (process / "stat").read_text().split(") ")[1].split()[1] == "1" and process.name != "1":
        os.kill(int(process.name), signal.SIGKILL)
"""


DAEMONS = """
import os, subprocess
os.system("(env -i setsid sh -c 'trap : TERM; while :; do sleep 4321; done' &) &")
for _ in range(3): _ = subprocess.Popen(["sleep", "4321"], start_new_session=True)
"""


def test_a_restart_leaves_no_daemon(
    image: str, folder: Path, docker_client: docker.DockerClient
) -> None:
    """K9, C5: nor does a session that dies; the container and its files stay."""

    def sleepers() -> int:
        rows = docker_client.containers.get(container).top()["Processes"]
        return sum("4321" in row[-1] for row in rows)

    with Kernel(f"--image={image}", folder=folder) as kernel:
        container = hostname(kernel)
        for ending in ("restart", "os._exit(1)"):
            kernel.run(DAEMONS)
            assert wait_until(lambda: sleepers() >= 4, 20)
            if ending == "restart":
                kernel.manager.restart_kernel()
                kernel.client.wait_for_ready(timeout=60)
            else:
                assert kernel.run(f"import os; {ending}").status == "error"
            assert hostname(kernel) == container
            assert wait_until(lambda: not sleepers(), 20)


def test_a_cell_in_c_is_ended_by_a_further_interrupt(image: str, folder: Path) -> None:
    """C7: and the cell says so, before and after."""
    code = "import itertools, os\n"
    code += "all(itertools.chain(map(os.write, [1], [b'on']), itertools.repeat(True)))"

    def interrupt(message: Message) -> None:
        if message["msg_type"] == "stream":
            # The manager's own counts its messages apart, and one may have the cell's number.
            request = kernel.client.session.msg("interrupt_request", {})
            kernel.client.control_channel.send(request)

    with Kernel(f"--image={image}", folder=folder) as kernel:
        kernel.run("1")
        # "on" brings the first interrupt, what is said after it the next one.
        cell = kernel.run(code, during=interrupt)
        assert "Interrupt again to end its process" in cell.text("stderr")
        assert "was ended by a further interrupt (SIGTERM)" in cell.error
        assert "variables are lost" in cell.error
        assert kernel.run("1 + 1").result == "2"


def test_a_cell_that_kills_the_server_is_told_so(image: str, folder: Path) -> None:
    """C5: and not that the server still runs; the next cell works."""
    with Kernel(f"--image={image}", folder=folder) as kernel:
        kernel.run("1")
        cell = kernel.run(KILL_THE_SERVER)
        assert cell.status == "error"
        assert "the container ended with status 137" in cell.error
        assert kernel.run("1 + 1").result == "2"


def test_after_a_crash_of_the_kernels_process_the_container_is_found_again(
    image: str, folder: Path
) -> None:
    with Kernel(f"--image={image}", folder=folder) as kernel:
        container = hostname(kernel)
        kernel.run("x = 1")
        # What jupyter_client does when it restarts a kernel that has died.
        kernel.manager.restart_kernel(now=True)
        kernel.client.wait_for_ready(timeout=60)
        assert hostname(kernel) == container
        assert kernel.run("'x' in globals()").result == "False"


def test_a_container_that_is_killed_under_a_cell(
    image: str, folder: Path, docker_client: docker.DockerClient
) -> None:
    with Kernel(f"--image={image}", folder=folder) as kernel:
        first = hostname(kernel)

        def kill(message: Message) -> None:
            if message["msg_type"] == "stream":
                docker_client.containers.get(first).kill()

        cell = kernel.run("import time\nprint('running')\ntime.sleep(60)", during=kill)
        assert cell.reply["content"]["ename"] == "ConnectionLost"
        after = kernel.run("1")
        assert after.result == "1"
        assert "reset" in after.text("stderr")
        assert hostname(kernel) != first


def test_what_pip_installs_is_found_by_the_next_cell(image: str, folder: Path) -> None:
    """K6, K9: without root; and after a restart."""
    package = wheel(folder, "late_one").name
    with Kernel(f"--image={image}", folder=folder) as kernel:
        assert kernel.run("import late_one").status == "error"
        assert kernel.run(f"%pip install -q --no-index ./{package}").status == "ok"
        assert kernel.run("import late_one; late_one.name").result == "'late_one'"
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=60)
        assert kernel.run("import late_one; late_one.name").result == "'late_one'"


def test_out_of_memory(image: str, folder: Path) -> None:
    """C5: the cell says so, with the limit and what to type; the next one works."""
    with Kernel(f"--image={image}", "--memory=200m", folder=folder) as kernel:
        container = hostname(kernel)
        cell = kernel.run("hoard = [bytearray(1 << 20) for _ in range(400)]")
        assert cell.status == "error"
        assert "memory ran out: the container's limit is 200 MiB" in cell.error
        assert "--memory=4g" in cell.error
        after = kernel.run("1")
        assert after.result == "1"
        assert "reset" in after.text("stderr")
        assert hostname(kernel) == container


def test_a_child_that_runs_out_of_memory(image: str, folder: Path) -> None:
    """C5: its cell says so, once; the session has not lost anything."""
    with Kernel(f"--image={image}", "--memory=200m", folder=folder) as kernel:
        code = "import subprocess, sys\nkept = 42\n"
        code += "subprocess.run([sys.executable, '-c', 'bytearray(400 << 20)']).returncode"
        cell = kernel.run(code)
        assert cell.result == "-9"
        assert "memory ran out: the container's limit is 200 MiB" in cell.text("stderr")
        after = kernel.run("kept")
        assert after.result == "42"
        assert after.text("stderr") == ""
        # A kill for another reason is told as what it is.
        killed = kernel.run("import os; os.kill(os.getpid(), 9)")
        assert "SIGKILL" in killed.error
        assert "memory" not in killed.error


# A worker lets itself be killed first while it runs a cell: here it must not.
SCORE = "open('/proc/self/oom_score_adj', 'w').write('0')"
HOARD = f"{SCORE}; hoard = [bytearray(1 << 20) for _ in range(400)]"


def processes_of(client: docker.DockerClient, container: str) -> dict[str, list[int]]:
    """The processes of a container by what they are, with this machine's numbers."""
    rows = client.containers.get(container).top(ps_args="-eo pid,ppid,args")["Processes"]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}
    (init,) = [pid for pid, parent in parents.items() if parent not in parents]
    found: dict[str, list[int]] = {}
    above = [init]
    for part in ("server", "zygote", "keeper", "worker"):
        above = found[part] = [pid for pid, parent in parents.items() if parent in above]
    return found


@pytest.fixture
def prefer_to_kill(docker_client: docker.DockerClient) -> Callable[[str, str], list[int]]:
    """Has memory run out for one part of a container first, which root may decide; its pids."""

    def prefer(container: str, part: str) -> list[int]:
        found = processes_of(docker_client, container)
        for each, pids in found.items():
            for pid in pids:
                try:
                    score = "1000" if each == part else "0"
                    Path(f"/proc/{pid}/oom_score_adj").write_text(score)
                except OSError as exc:
                    pytest.skip(f"the engine's processes are out of reach: {exc}")
        return found[part]

    return prefer


@pytest.mark.parametrize("part", ["zygote", "keeper", "server"])
def test_a_part_of_ours_that_runs_out_of_memory(
    image: str, folder: Path, prefer_to_kill: Callable[[str, str], list[int]], part: str
) -> None:
    """C5: the limit is named whichever process was killed; the next cell works."""
    with Kernel(f"--image={image}", "--memory=200m", folder=folder) as kernel:
        container = hostname(kernel)
        kernel.run("kept = 42")
        pids = prefer_to_kill(container, part)
        if part == "zygote":
            # A child takes so much that the zygote's end is not enough, and so is killed after it.
            cell = kernel.run(
                f"{SCORE}; import subprocess, sys\nsubprocess.run([sys.executable, '-c', "
                f"{HOARD!r}]).returncode"
            )
            assert cell.result == "-9"
            assert "memory ran out: the container's limit is 200 MiB" in cell.text("stderr")
            assert kernel.run("kept").result == "42"
            kernel.manager.restart_kernel()
            kernel.client.wait_for_ready(timeout=60)
        else:
            cell = kernel.run(HOARD)
            assert cell.status == "error"
            assert "memory ran out" in cell.error
            assert "limit is 200" in cell.error
        cell = kernel.run("1 + 1")
        assert cell.result == "2", str(cell)
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert (hostname(kernel) == container) is (part != "server")


def test_an_image_that_does_not_exist_and_then_does(
    image: str, folder: Path, docker_client: docker.DockerClient
) -> None:
    name = "docker-kernel-test-absent:now"
    with Kernel(f"--image={name}", "--pull=never", folder=folder) as kernel:
        cell = kernel.run("1")
        assert cell.reply["content"]["ename"] == "ImageNotFound"
        assert "To mend it" in cell.error
        docker_client.images.get(image).tag(name)
        try:
            assert kernel.run("2").result == "2"
        finally:
            docker_client.images.remove(name, force=True)


def test_an_image_without_python(nopython_image: str, folder: Path) -> None:
    with Kernel(f"--image={nopython_image}", folder=folder) as kernel:
        cell = kernel.run("1")
        assert cell.reply["content"]["ename"] == "ImageHasNoPython"
        assert kernel.ask("kernel_info")["status"] == "ok"


def test_an_engine_that_is_away(image: str, folder: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{folder}/nowhere.sock"}
    with Kernel(f"--image={image}", folder=folder, env=nowhere) as kernel:
        for _ in range(2):
            cell = kernel.run("1")
            assert cell.reply["content"]["ename"].startswith("Engine")
            assert "To mend it" in cell.error


def test_two_kernels_share_nothing(image: str, folder: Path) -> None:
    other_folder = folder / "other"
    other_folder.mkdir()
    os.chown(other_folder, 1000, 1000)
    with (
        Kernel(f"--image={image}", folder=folder) as one,
        Kernel(f"--image={image}", folder=other_folder) as two,
    ):
        one.run("x = 1")
        assert two.run("'x' in globals()").result == "False"
        assert hostname(one) != hostname(two)


def test_an_image_that_is_too_old_for_ipython(old_image: str, folder: Path) -> None:
    with Kernel(f"--image={old_image}", folder=folder) as kernel:
        cell = kernel.run("x = 41\nprint('hi')\nx + 1")
        assert (cell.text(), cell.result) == ("hi\n", "42")
        assert kernel.run("1 / 0").reply["content"]["ename"] == "ZeroDivisionError"
        assert kernel.run("input('? ')", answer=lambda _: "yes").result == "'yes'"
        assert "Type: %pip install ipython" in kernel.run("%timeit 1").error
        assert "x" in kernel.ask("complete", "x", 1)["matches"]


def test_an_image_with_an_ipython_of_its_own(ipython_image: str, folder: Path) -> None:
    with Kernel(f"--image={ipython_image}", folder=folder) as kernel:
        assert kernel.run("import IPython; IPython.__version__").result == "'8.5.0'"


def test_a_note_for_the_next_process_that_cannot_be_left(image: str, folder: Path) -> None:
    kernel = Kernel(f"--image={image}", folder=folder)
    kernel.note.mkdir()
    with kernel:
        assert kernel.run("1").result == "1"
        kernel.note.rmdir()
