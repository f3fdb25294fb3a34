"""The command line: install and run, and what they say when it can't be done."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import trustme

from docker_kernel.cli import main
from docker_kernel.cli.printer import Printer, describe_bundle
from docker_kernel.kernelspec import kernel_argv
from docker_kernel_server import __version__
from system import wait_until
from wire import Server


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jupyter folders of the test's own; where `--user` installs kernels."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path / "data" / "kernels"


def write_notebook(path: Path, *sources: str) -> Path:
    cells: list[dict[str, object]] = [
        {"cell_type": "markdown", "metadata": {}, "id": "title", "source": "# Title"}
    ]
    for number, source in enumerate(sources):
        cell: dict[str, object] = {
            "cell_type": "code",
            "metadata": {},
            "id": f"c{number}",
            "source": source,
        }
        cells.append({**cell, "execution_count": None, "outputs": []})
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


# ---- the command -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["install", "--help"], ["run", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"docker-kernel {__version__}"


@pytest.mark.parametrize("words", [[], ["dance"], ["run"], ["install", "--mode", "moon"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


# ---- install -----------------------------------------------------------------------------------


def test_install(jupyter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install"]) == 0
    spec = json.loads((jupyter / "docker" / "kernel.json").read_text())
    assert spec["argv"][:5] == kernel_argv()
    assert spec["interrupt_mode"] == "message"
    assert spec["display_name"] == "Python 3 (Docker)"
    assert (jupyter / "docker" / "logo-64x64.png").exists()
    said = capsys.readouterr().out
    assert str(jupyter / "docker") in said
    assert "--kernel_name=docker" in said


def test_install_with_settings(jupyter: Path) -> None:
    words = ["--name", "Torch", "--display-name", "PyTorch (Docker)", "--image", "pytorch/pytorch"]
    more = ["--memory=8g", "--env", "A=1", "--env", "B=2 3", "--container-user", "1000:1000"]
    assert main(["install", *words, *more, "--mount-workspace", "False"]) == 0
    spec = json.loads((jupyter / "torch" / "kernel.json").read_text())
    assert spec["display_name"] == "PyTorch (Docker)"
    assert spec["argv"][5:] == [
        "--Settings.env=A=1",
        "--Settings.env=B=2 3",
        "--Settings.image=pytorch/pytorch",
        "--Settings.memory=8g",
        "--Settings.mount_workspace=False",
        "--Settings.user=1000:1000",
    ]


def test_install_finds_files_from_here_and_names_them_for_anywhere(
    jupyter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "company.pem")
    monkeypatch.chdir(tmp_path)
    assert main(["install", "--extra-ca", "company.pem", "--secret-file", "later"]) == 0
    spec = json.loads((jupyter / "docker" / "kernel.json").read_text())
    assert spec["argv"][5:] == [
        f"--Settings.extra_ca={tmp_path / 'company.pem'}",
        f"--Settings.secret_file={tmp_path / 'later'}",
    ]


def test_install_takes_nothing_from_the_environment(
    jupyter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_KERNEL_IMAGE", "only-for-now")
    assert main(["install"]) == 0
    assert "only-for-now" not in (jupyter / "docker" / "kernel.json").read_text()


def test_install_again_replaces_our_own(jupyter: Path) -> None:
    assert main(["install", "--image", "one"]) == 0
    assert main(["install", "--image", "two"]) == 0
    assert "two" in (jupyter / "docker" / "kernel.json").read_text()


def test_install_spares_the_kernels_of_others(
    jupyter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = jupyter / "mine" / "kernel.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"argv": ["ruby"], "display_name": "Ruby", "language": "ruby"}')
    assert main(["install", "--name", "mine"]) == 1
    assert "--replace" in capsys.readouterr().err
    assert "ruby" in other.read_text()
    assert main(["install", "--name", "mine", "--replace"]) == 0
    assert "docker_kernel" in other.read_text()


def test_install_spares_the_kernels_of_others_where_this_jupyter_does_not_look(
    jupyter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "env/share/jupyter/kernels/mine/kernel.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"argv": ["ruby"], "display_name": "Ruby", "language": "ruby"}')
    words = ["install", "--name", "mine", "--prefix", str(tmp_path / "env")]
    assert main(words) == 1
    assert f"it is in {other.parent}" in capsys.readouterr().err
    assert "ruby" in other.read_text()
    assert main([*words, "--replace"]) == 0
    assert "docker_kernel" in other.read_text()
    assert not jupyter.exists()


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a/b", "", "ä"])
def test_install_refuses_what_is_no_name(
    jupyter: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Jupyter's own installer would take ".." for its data folder, and remove all of it."""
    kept = jupyter.parent / "kept"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("other things of Jupyter's")
    assert main(["install", "--name", name]) == 1
    assert "choose another --name" in capsys.readouterr().err
    assert kept.exists()


def test_install_into_a_prefix(jupyter: Path, tmp_path: Path) -> None:
    assert main(["install", "--prefix", str(tmp_path / "env")]) == 0
    assert (tmp_path / "env/share/jupyter/kernels/docker/kernel.json").exists()
    assert not jupyter.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--name", "my kernel"], "can't be a kernel's name"),
        (["--memory", "lots"], "lots"),
        (["--port", "no"], "no"),
        (["--prefix", "/proc/nowhere"], "can't be installed"),
    ],
)
def test_install_says_what_is_wrong(
    words: list[str], says: str, jupyter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", *words]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert "To mend it" in error
    assert not jupyter.exists()


# ---- run ---------------------------------------------------------------------------------------


def run(notebook: Path, server: Server, *words: str) -> int:
    return main(["run", str(notebook), "--mode=attached", f"--port={server.port}", *words])


@pytest.mark.usefixtures("jupyter")
def test_run(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = "for i in range(3): print(f'\\r{i}0%', end='')\nprint()"
    notebook = write_notebook(tmp_path / "a.ipynb", "x = 1", "print('x is', x)\nx + 1", draw)
    assert run(notebook, server) == 0
    out = capsys.readouterr().out
    assert "# Title" in out
    assert "x is 1\n2\n" in out
    assert "\n20%\n" in out
    assert "00%" not in out
    target = tmp_path / "a.executed.ipynb"
    assert str(target) in out
    done = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(done)
    assert done.cells[2].outputs[1].data["text/plain"] == "2"


@pytest.mark.usefixtures("jupyter")
def test_run_a_cell_that_raises(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = write_notebook(tmp_path / "a.ipynb", "print('before')", "1 / 0", "print('after')")
    target = tmp_path / "out.ipynb"
    assert run(notebook, server, "--output", str(target)) == 1
    said = capsys.readouterr()
    assert "ZeroDivisionError" in said.out
    assert "cell 3" in said.err
    assert "after" not in said.out.replace("│ print('after')", "")
    done = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    assert done.cells[2].outputs[0].ename == "ZeroDivisionError"


def begin_run(notebook: Path, server: Server) -> subprocess.Popen[str]:
    """The command as a process of its own, to be signalled."""
    program = "import sys; from docker_kernel.cli import main; sys.exit(main())"
    words = ["run", str(notebook), "--mode=attached", f"--port={server.port}"]
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def signal_at(process: subprocess.Popen[str], **lines: signal.Signals) -> str:
    """Send a signal at each of these lines; all that is printed."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.strip() in lines:
            process.send_signal(lines[line.strip()])
    return "".join(said)


@pytest.mark.usefixtures("jupyter")
def test_ctrl_c_interrupts_the_cell(server: Server, tmp_path: Path) -> None:
    code = "import time\nprint('running')\ntime.sleep(60)"
    notebook = write_notebook(tmp_path / "a.ipynb", code, "print('after')")
    with begin_run(notebook, server) as process:
        said = signal_at(process, running=signal.SIGINT)
    assert process.returncode == 130
    assert "KeyboardInterrupt" in said
    assert "Traceback (most recent call last):\n  File" not in said
    assert (tmp_path / "a.executed.ipynb").exists()


STUBBORN = """
import time
print("running")
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("ignored")
"""


@pytest.mark.usefixtures("jupyter")
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_cell_that_ignores_the_first(
    which: signal.Signals, server: Server, tmp_path: Path
) -> None:
    notebook = write_notebook(tmp_path / "a.ipynb", STUBBORN, "print('after')")
    with begin_run(notebook, server) as process:
        said = signal_at(process, running=which, ignored=which)
    assert process.returncode == 130
    _, _, end = said.partition("ignored\n")
    target = tmp_path / "a.executed.ipynb"
    assert end == f"\nThe executed notebook is {target}\ndocker-kernel: interrupted\n"
    assert nbformat.read(target, as_version=4).cells[1].outputs  # type: ignore[no-untyped-call]


@pytest.mark.usefixtures("jupyter")
def test_ctrl_c_before_the_first_cell(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = tmp_path / "connections"
    connections.mkdir()
    monkeypatch.setenv("TMPDIR", str(connections))
    notebook = write_notebook(tmp_path / "a.ipynb", "print('after')")
    with begin_run(notebook, server) as process:
        # The kernel's process is started when this is written.
        assert wait_until(lambda: any(connections.glob("*.json")), 60)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 130
    assert said.endswith("docker-kernel: interrupted\n")
    assert "Traceback" not in said
    assert not any(connections.iterdir())


@pytest.mark.usefixtures("jupyter")
def test_a_kernel_that_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "ipykernel.py").write_text("raise SystemExit('this ipykernel is broken')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    notebook = write_notebook(tmp_path / "a.ipynb", "1")
    program = "import sys; from docker_kernel.cli import main; sys.exit(main())"
    words = ["run", str(notebook), "--mode=attached", "--port=1"]
    done = subprocess.run([sys.executable, "-c", program, *words], check=False)
    assert done.returncode == 1
    said = capfd.readouterr().err
    assert "this ipykernel is broken" in said
    assert "the kernel's process ended" in said
    assert "Traceback" not in said


@pytest.mark.usefixtures("jupyter")
def test_run_without_a_server(
    free_port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = write_notebook(tmp_path / "a.ipynb", "1")
    assert main(["run", str(notebook), "--mode=attached", f"--port={free_port}"]) == 1
    said = capsys.readouterr()
    assert "ServerNotThere" in said.err
    assert "To mend it" in said.out


def test_run_a_notebook_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tmp_path / "none.ipynb")]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "no JSON", "[1, 2]", '{"cells": 3}', "\xff\xfe"])
def test_run_what_is_no_notebook(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(text, encoding="latin-1")
    assert main(["run", str(path)]) == 1
    error = capsys.readouterr().err
    assert "can't be read" in error
    assert "Traceback" not in error


@pytest.mark.usefixtures("jupyter")
def test_run_writes_through_no_link_that_a_cell_left(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """E7: the cell can't read the other file, and must not have it overwritten."""
    precious = tmp_path / "precious"
    precious.write_text("of use")
    work = tmp_path / "work"
    work.mkdir()
    target = work / "a.executed.ipynb"
    path = write_notebook(
        work / "a.ipynb", f"import os; os.symlink({str(precious)!r}, {str(target)!r})"
    )
    assert run(path, server) == 0
    assert precious.read_text() == "of use"
    assert not target.is_symlink()
    assert nbformat.read(target, 4).cells[1].execution_count == 1  # type: ignore[no-untyped-call]
    assert target.stat().st_mode == path.stat().st_mode
    assert sorted(item.name for item in work.iterdir()) == ["a.executed.ipynb", "a.ipynb"]
    # Nor by way of a folder.
    (work / "out").mkdir()
    move = f"os.rename('{work}/out', '{work}/old'); os.symlink('{tmp_path}', '{work}/out')"
    write_notebook(path, f"import os; {move}")
    output = str(work / "out" / "precious")
    assert run(path, server, "--output", output) == 1
    assert precious.read_text() == "of use"
    assert "has been replaced" in capsys.readouterr().err


def test_run_checks_the_output_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = write_notebook(tmp_path / "a.ipynb", "1")
    assert main(["run", str(notebook), "--output", str(tmp_path / "no" / "b.ipynb")]) == 1
    said = capsys.readouterr()
    assert "no folder" in said.err
    assert "cell" not in said.out


# ---- the printer -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["a\n", "b\n"], "a\nb\n"),
        (["a", "b", "\n"], "ab\n"),
        (["\r10%", "\r20%", "\r30%\n"], "30%\n"),
        (["work: ", "\r10%\r20%\n"], "work: \n20%\n"),
        (["10%\r", "20%\r", "30%\n"], "10%\n30%\n"),
        (["a\r\nb\r\n"], "a\nb\n"),
        (["a\r", "\nb"], "a\nb"),
        (["\x1b[31mred\x1b[0m\n"], "red\n"),
    ],
)
def test_carriage_returns_in_a_log(pieces: list[str], shown: str) -> None:
    out = io.StringIO()
    printer = Printer(out)
    for piece in pieces:
        printer.text(piece)
    assert out.getvalue() == shown


def test_a_terminal_gets_everything() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    Printer(out).text("\r\x1b[31m10%")
    assert out.getvalue() == "\r\x1b[31m10%"


def test_a_bar_that_no_newline_ends() -> None:
    out = io.StringIO()
    printer = Printer(out)
    printer.text("\r90%")
    printer.output("execute_result", {"data": {"text/plain": "7"}})
    assert out.getvalue() == "90%\n7\n"


def test_bundles() -> None:
    assert describe_bundle({"text/plain": "<x>", "text/html": "<b>x</b>"}) == "<x>"
    assert describe_bundle({"text/plain": "<x>", "image/png": "AAAA"}) == "[image/png, 3 bytes]"
    assert describe_bundle({"text/html": "<b>x</b>"}) == "[text/html, 8 bytes]"
