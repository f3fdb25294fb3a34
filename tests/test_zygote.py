"""What a session finds on sys.path (K9 to K11), and what the zygote's end costs (C5)."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import IPython
import psutil
import pytest

from docker_kernel import runtime
from system import wait_until
from wheels import wheel
from wire import PATIENCE, SCRIPT, Server, Session, gone

PACKAGE = SCRIPT.parent / "docker_kernel_server"


@pytest.fixture
def bare_python(pythons: dict[str, str]) -> str:
    """A Python that isn't a virtual environment's, so that it has a user site."""
    if not pythons:
        pytest.skip("there is no other Python on this machine")
    return pythons[max(pythons, key=lambda version: int(version.split(".")[1]))]


def test_what_pip_installs_for_the_user_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_python: str
) -> None:
    """K9: in the session that installed it, and after a restart; the folder wasn't there before."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("PIP_USER", raising=False)
    pip = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', "
    pip += "'--user', '--no-index', '--break-system-packages', {!r}], check=True)"
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    with Server(tmp_path / "work", python=bare_python) as server, server.connect() as client:
        session = client.open()
        assert session.execute("import late_one").error == "ModuleNotFoundError"
        session.ok(pip.format(str(wheel(tmp_path, "late_one"))))
        assert session.ok("import late_one; late_one.name").value == "'late_one'"
        assert session.ask("restart_session").status == 0
        assert session.ok("import late_one; late_one.name").value == "'late_one'"
        assert str(home) in str(session.ok("late_one.__file__").value)


def test_the_user_site_stands_where_python_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_python: str
) -> None:
    """K11: what the person installs wins over what the image has."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    paths = []
    for _ in range(2):  # the second server finds the folder there
        with Server(tmp_path / "work", python=bare_python) as server, server.connect() as client:
            paths.append(client.open().ok("import sys; sys.path").value)
    assert str(tmp_path / "home") in str(paths[0])
    assert paths[0] == paths[1]


def test_a_module_that_appears_is_found_by_the_next_cell(tmp_path: Path) -> None:
    """K9: also where it comes in the same tick of the clock in which its folder was read."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with Server(tmp_path / "work") as server, server.connect() as client:
        session = client.open()
        session.ok(f"import os, sys; sys.path.append({str(folder)!r}); stamp = (1e9, 1e9)")
        for number in range(3):
            code = f"os.utime({str(folder)!r}, stamp)\nimport late_{number}"
            assert session.execute(code).error == "ModuleNotFoundError"
            (folder / f"late_{number}.py").touch()
            assert session.ok(f"os.utime({str(folder)!r}, stamp)").status == 0
            assert session.ok(f"import late_{number}").status == 0


def test_what_completion_needs_is_imported_while_nobody_asks(tmp_path: Path) -> None:
    """K5: the first session doesn't wait for it; later ones have it from the zygote."""

    def has_it(session: Session) -> bool:
        assert session.ask("restart_session").status == 0
        return session.ok("import sys; 'jedi' in sys.modules").value == "True"

    with Server(tmp_path / "work") as server, server.connect() as client:
        session = client.open()
        assert wait_until(lambda: has_it(session), PATIENCE)


def test_a_session_is_ready_for_its_first_error_soon(tmp_path: Path) -> None:
    """C3: who interrupts waits for the traceback. The first session makes itself ready where it is
    left alone; later ones have it from the zygote."""

    def is_ready() -> bool:
        code = "import sys; {'stack_data', 'pygments.lexers.python'} <= {*sys.modules}"
        return session.ok(code).value == "True"

    def left_alone() -> bool:
        time.sleep(0.2)
        return is_ready()

    def restarted() -> bool:
        assert session.ask("restart_session").status == 0
        return is_ready()

    with Server(tmp_path / "work") as server, server.connect() as client:
        session = client.open()
        assert wait_until(left_alone, PATIENCE)
        assert wait_until(restarted, PATIENCE)


def test_what_is_imported_while_nobody_asks_is_no_file_of_the_persons(tmp_path: Path) -> None:
    """K11: of that, nothing runs before it is asked for."""
    work = tmp_path / "work"
    work.mkdir()
    for name in ("asttokens", "executing", "pure_eval", "stack_data"):
        (work / f"{name}.py").write_text("open('ran', 'w').close()")
    script = (
        f"import os, sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); os.chdir({str(work)!r})\n"
        "from docker_kernel_server import installed, packages\n"
        "packages.prepare('')\n"
        "installed.add_work_folder()\n"
        "before = sys.path[:]\n"
        "list(packages.prepare_errors())\n"
        "print('stack_data' in sys.modules, sys.path == before, '' in before)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert (done.stdout, (work / "ran").exists()) == ("True True True\n", False)


def test_a_jedi_of_the_images_that_is_none_is_left_alone(tmp_path: Path) -> None:
    """K5, K11: the lent one serves, and the person has what has its name."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "jedi.py").write_text("")
    script = (
        f"import sys; sys.path[:0] = [{str(folder)!r}, {str(PACKAGE.parent)!r}]\n"
        "from docker_kernel_server.packages import LENT_FIRST, import_rest, prepare\n"
        f"choice = prepare({str(Path(IPython.__file__).parents[1])!r}, LENT_FIRST)\n"
        "print(choice.ipython, len(list(import_rest(choice))), 'jedi' in sys.modules)\n"
        "import jedi\n"
        "print(jedi.__file__)\n"
    )
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == ["True 0 False", str(folder / "jedi.py")]


def user_site(session: Session) -> Path:
    return Path(str(session.ok("import site; site.getusersitepackages()").value).strip("'"))


def test_an_editable_package_counts_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_python: str
) -> None:
    """K9: that is a .pth file, which Python reads at its own start alone."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    source = tmp_path / "source"
    source.mkdir()
    (source / "edited.py").write_text("value = 1")
    with Server(tmp_path / "work", python=bare_python) as server, server.connect() as client:
        session = client.open()
        (user_site(session) / "__editable__.edited.pth").write_text(f"{source}\n")
        (user_site(session) / "zbad.pth").write_text("import no_such_module\n")
        assert session.execute("import edited").error == "ModuleNotFoundError"
        assert session.ask("restart_session").status == 0
        assert session.ok("import edited; edited.value").value == "1"


@pytest.mark.parametrize("again", [False, True], ids=["installed", "upgraded in place"])
def test_a_newer_version_of_what_ipython_uses_counts_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_python: str, again: bool
) -> None:
    """K9, K11: the zygote has imported the older one, and goes on with it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    lent = str(Path(IPython.__file__).parents[1])
    args = ("--lent", lent)
    with (
        Server(tmp_path / "work", python=bare_python, args=args) as server,
        server.connect() as client,
    ):
        session = client.open()
        if session.opened.result["shell"] != "ipython":
            pytest.skip("this Python is older than the IPython that is here")
        assert "docker-kernel" not in str(session.ok("import parso; parso.__version__").value)
        # Of another length: within a second, Python tells a changed source by its size alone.
        for version in ("one", "number two") if again else ("one",):
            package = user_site(session) / "parso"
            package.mkdir(exist_ok=True)
            (package / "__init__.py").write_text(f"__version__ = 'docker-kernel {version}'")
            (user_site(session) / f"parso-{version[-3:]}.dist-info").mkdir()
            assert session.ask("restart_session").status == 0
            value = session.ok("import parso; parso.__version__").value
            assert value == f"'docker-kernel {version}'"
        # jedi, which completes, has parso bound.
        reply = session.ask("complete", code="import jso", cursor_pos=10).result
        assert "json" in reply["matches"]


def unpack(
    tar: tarfile.TarFile, folder: Path, members: list[tarfile.TarInfo] | None = None
) -> None:
    """Unpack an archive of our own, also with a Python that knows no filters yet."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, members, filter="data")
    else:
        tar.extractall(folder, members)  # noqa: S202


def test_an_ipython_that_is_installed_later_serves_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_python: str
) -> None:
    """K6, K9: as the plain shell tells."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with Server(tmp_path / "work", python=bare_python) as server, server.connect() as client:
        session = client.open()
        assert "%pip install ipython" in session.opened.result["notes"][0]
        (packages,) = [part for part in runtime.parts() if part.name == runtime.PACKAGES]
        with tarfile.open(fileobj=io.BytesIO(packages.archive())) as tar:
            unpack(tar, user_site(session))
        answer = session.ask("restart_session").result
        assert (answer["shell"], answer["notes"]) == ("ipython", [])
        assert session.ok("%pwd").value == repr(str(tmp_path / "work"))


def test_an_ipython_without_comm_serves_without_widgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_python: str
) -> None:
    """K6, K7: an image's own IPython needs no such package; where widgets do, they say so."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (packages,) = [part for part in runtime.parts() if part.name == runtime.PACKAGES]
    make = "import sys; _ = sys.modules['ipykernel.comm'].Comm(target_name='t')"
    with Server(tmp_path / "work", python=bare_python) as server, server.connect() as client:
        session = client.open()
        with tarfile.open(fileobj=io.BytesIO(packages.archive())) as tar:
            comm = [item for item in tar.getmembers() if item.name.startswith("comm")]
            others = [item for item in tar.getmembers() if item not in comm]
            unpack(tar, user_site(session), others)
            answer = session.ask("restart_session").result
            assert (answer["shell"], answer["notes"]) == ("ipython", [])
            assert session.ok("%pwd").value == repr(str(tmp_path / "work"))
            assert session.ask("comm_info").result["comms"] == {}
            session.ok("get_ipython().kernel.comm_manager.register_target('t', print)")
            opened = session.ask("comm_open", comm_id="c", target_name="t")
            assert "%pip install comm" in opened.result
            failed = session.execute(make)
            assert "%pip install comm" in failed.of("error")[0]["evalue"]
            # As is told.
            unpack(tar, user_site(session), comm)
        assert session.ask("restart_session").status == 0
        assert session.ok(make).of("comm_open")


HOSTILE = ("docker_kernel_server", "json", "typing", "site", "asyncio", "selectors")


def test_nothing_hides_the_servers_modules_or_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K10: neither what lies in the working folder nor what lies beside the server."""
    beside = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, beside / PACKAGE.name)
    shutil.copy(SCRIPT, beside)
    work = tmp_path / "work"
    work.mkdir()
    for name in HOSTILE:
        (work / f"{name}.py").write_text("raise SystemExit('hidden')")
    for name in ("json", "typing", "asyncio", "selectors"):
        (beside / f"{name}.py").write_text("raise SystemExit('hidden')")
    monkeypatch.setenv("PYTHONPATH", "")
    script = tmp_path / "start.py"
    script.write_text(
        f"import sys; sys.path.append({str(beside)!r})\n"
        "from docker_kernel_server.__main__ import main\nsys.exit(main())\n"
    )
    with Server(work, script=script) as server, server.connect() as client:
        assert client.open().ok("1 + 1").value == "2"


@pytest.mark.parametrize("on_path", [True, False])
def test_the_servers_folder_is_on_the_persons_path_only_if_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: bool
) -> None:
    """K11: an installed server lies in site-packages, with the person's own packages."""
    folder = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, folder / PACKAGE.name)
    script = Path(shutil.copy(SCRIPT, folder))
    (folder / "neighbour.py").write_text("name = 'neighbour'\n")
    if on_path:
        monkeypatch.setenv("PYTHONPATH", str(folder))
    with Server(tmp_path / "work", script=script) as server, server.connect() as client:
        session = client.open()
        paths = session.ok("import sys; sys.path").value or ""
        assert (repr(str(folder)) in paths) is on_path
        assert session.execute("import neighbour").error == (
            None if on_path else "ModuleNotFoundError"
        )


# ---- its end, at any moment


def zygotes(server: Server) -> list[psutil.Process]:
    """The server's direct children; workers have the same command line."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(server.process.pid).children()
    return []


def kill_zygote(server: Server) -> None:
    """Until the server has heard of its end."""
    for process in zygotes(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait(PATIENCE)


def test_a_zygote_that_is_killed_when_idle(tmp_path: Path) -> None:
    """C5: nobody had asked for anything yet."""
    with Server(tmp_path) as server, server.connect() as client:
        assert wait_until(lambda: bool(zygotes(server)), PATIENCE)
        before = zygotes(server)
        kill_zygote(server)
        assert client.open().ok("1 + 1").value == "2"
        assert zygotes(server) != before


def test_a_zygote_that_is_killed_in_a_cell(tmp_path: Path) -> None:
    """C5: the sessions have their keepers and lose nothing; the next comes from a new zygote."""
    with Server(tmp_path) as server, server.connect() as client:
        sessions = [client.open() for _ in range(3)]
        code = "import time, os; print('on')\nwhile not os.path.exists('gate'): time.sleep(0.01)"
        cells = [each.begin(code) for each in sessions]
        for cell in cells:
            client.wait_for_text(cell, "on")
        kill_zygote(server)
        assert client.open().ok("1 + 1").value == "2"
        (tmp_path / "gate").touch()
        for cell in cells:
            assert client.finish(cell).reason == "ok"
        for each in sessions:
            assert each.ok("time.__name__").value == "'time'"
            assert each.execute("os._exit(3)").result["exit_code"] == 3
            assert each.ok("1 + 1").value == "2"
        assert server.stop() == 0
        assert gone(server)
        assert server.log() == ""


def test_a_zygote_that_is_killed_while_it_starts_sessions(tmp_path: Path) -> None:
    """C5: at any moment of its import and of a fork. What was asked is done or refused; no process
    is left of what had begun."""
    with Server(tmp_path) as server, server.connect() as client:
        for step in range(10):
            names = [f"{step}-{number}" for number in range(4)]
            opening = [client.begin("open_session", session=name) for name in names]
            cells = [client.begin("execute", session=name, code="6 * 7") for name in names]
            # Spread over the import, which takes most of a second, and the forks after it.
            time.sleep(step * 0.07)
            kill_zygote(server)
            for request in (*opening, *cells):
                assert client.finish(request).reason in ("ok", "refused", "died")
            assert client.open(names[0]).ok("1 + 1").value == "2"
            for name in names:
                client.ask("close_session", session=name)
        # The sessions live on without a zygote; this one needs it.
        assert client.ask("open_session", session="last").status == 0
        assert client.ask("close_session", session="last").status == 0
        assert wait_until(lambda: len(server.processes()) == 2, PATIENCE)
        assert server.stop() == 0
        assert gone(server)
        assert server.log() == ""
