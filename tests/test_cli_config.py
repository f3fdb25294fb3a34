"""Settings shown, written and completed (E12); and the pages that list verbs and settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docker_kernel import config
from docker_kernel.cli import EXIT_CODES, main, make_parser
from docker_kernel.cli.helping import verbs_of
from docker_kernel.cli.templates import TEMPLATES, template
from docker_kernel.config import Settings
from docker_kernel.doctor import machine
from docker_kernel.doctor.findings import IDS
from docker_kernel.pinned import Pin
from docker_kernel.reader import SettingsReader
from kernels import PATIENCE, Kernel
from settings_page import PAGE, page
from wire import Server

COMMANDS = PAGE.with_name("commands.md")
NAMES = sorted(Settings.class_traits(config=True))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jupyter's configuration folder, the test's own."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "shared"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    (tmp_path / "config").mkdir()
    (tmp_path / "shared").mkdir()
    return tmp_path / "config"


def show(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    """What `config --show --json` has, by name."""
    capsys.readouterr()
    assert main(["config", "--show", "--json", *words]) == 0
    said = json.loads(capsys.readouterr().out)
    found = {item["name"]: item for item in said["settings"]}
    assert list(found) == NAMES
    return {**found, "": said}


# -- what counts, and where it comes from


def test_each_setting_says_where_it_comes_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = folder.parent / "shared" / "docker_kernel_config.json"
    # What JUPYTER_CONFIG_PATH names is stronger than the person's own folder.
    shared.write_text('{"Settings": {"memory": "5g", "pids": 88, "cpus": 1}}')
    own = folder / "docker_kernel_config.py"
    own.write_text("c.Settings.memory = '6g'\nc.Settings.lease = 99\nc.Settings.cpus = 2\n")
    monkeypatch.setenv("DOCKER_KERNEL_PIDS", "66")
    monkeypatch.setenv("DOCKER_KERNEL_CPUS", "3")
    monkeypatch.setenv("DOCKER_PORT", "4711")
    found = show(capsys, "--cpus", "4", "--env", "A=1")
    assert {
        name: (item["value"], item["source"], item["where"])
        for name, item in found.items()
        if name in ("cpus", "env", "pids", "port", "memory", "lease", "pull")
    } == {
        "cpus": (4.0, "command line", "--Settings.cpus"),
        "env": ({"A": "1"}, "command line", "--Settings.env"),
        "pids": (66, "environment", "DOCKER_KERNEL_PIDS"),
        "port": (4711, "environment", "DOCKER_PORT"),
        "memory": ("5g", "file", str(shared)),
        "lease": (99.0, "file", str(own)),
        "pull": ("missing", "default", ""),
    }
    assert found[""]["files"] == [str(own), str(shared)]
    assert main(["config", "--cpus", "4"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^memory +5g +file \(.*/docker_kernel_config.json\)$", said, re.MULTILINE)
    assert re.search(r"^cpus +4\.0 +command line \(--Settings.cpus\)$", said, re.MULTILINE)


def test_what_is_pinned_says_by_which_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How files pin is tested in test_pinned.py."""
    pins = {"memory": Pin("3g", Path("/etc/jupyter/docker_kernel_config.py"))}
    monkeypatch.setattr(config, "read_pins", lambda _config: pins)
    found = show(capsys)["memory"]
    assert (found["value"], found["source"]) == ("3g", "pinned")
    assert found["where"] == "/etc/jupyter/docker_kernel_config.py"
    assert main(["config"]) == 0
    assert "3g       pinned by /etc/jupyter/docker_kernel_config.py\n" in capsys.readouterr().out


def test_what_can_not_work_is_refused_here_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--memory", "lots"]) == 1
    assert "correct --Settings.memory: write a number and a unit" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "text"), [("py", "c.Settings.pids = 1x"), ("json", "{")])
def test_a_file_that_can_not_be_read_is_named(
    kind: str, text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / f"docker_kernel_config.{kind}"
    path.write_text(text)
    assert main(["config"]) == 1
    assert f"docker-kernel: {path} can't be read: " in capsys.readouterr().err


# -- names that don't exist


WRONG = [
    ("c.Settings.memroy in docker_kernel_config", "c.Settings.memory in docker_kernel_config"),
    ("c.Setings in docker_kernel_config", "c.Settings in docker_kernel_config"),
    ("DOCKER_KERNEL_MEMROY", "DOCKER_KERNEL_MEMORY"),
    ("--Settings.nework", "--Settings.network"),
]


@pytest.fixture
def misspelt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "docker_kernel_config.py").write_text(
        "c.Settings.memroy = '6g'\nc.Setings.pids = 1\nc.Settings.pids = 77\nc.Other.memory = 1\n"
    )
    monkeypatch.setenv("DOCKER_KERNEL_MEMROY", "6g")
    monkeypatch.setenv("DOCKER_KERNEL_EMPTY", "")


@pytest.mark.usefixtures("misspelt")
def test_a_name_that_does_not_exist_is_told_with_the_right_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reader = SettingsReader()
    settings = Settings.load(reader.read(["--Settings.nework=none"]), reader.cli_config)
    assert sorted(settings.notices) == sorted(
        f"{name} counts for nothing: there is no such setting; did you mean {right}?"
        for name, right in WRONG
    )
    assert (settings.pids, settings.memory, settings.network) == (77, "2g", "bridge")
    assert main(["config"]) == 0
    said = capsys.readouterr().err
    assert all(name in said for name, _ in WRONG[:3])
    finding = machine.settings(settings)
    assert finding.level == "warning"
    assert "did you mean DOCKER_KERNEL_MEMORY?" in finding.what


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("XYZZY", "see docker-kernel config --show"),
        ("memory", "did you mean DOCKER_KERNEL_MEMORY?"),
        ("START-TIMEOUT", "did you mean DOCKER_KERNEL_START_TIMEOUT?"),
    ],
)
def test_a_variable_that_counts_for_nothing(name: str, meant: str) -> None:
    (said,) = Settings.load(environ={f"DOCKER_KERNEL_{name}": "1"}).notices
    assert said == f"DOCKER_KERNEL_{name} counts for nothing: there is no such setting; {meant}"


@pytest.mark.usefixtures("misspelt")
def test_a_cell_tells_of_it(server: Server, tmp_path: Path) -> None:
    with Kernel("--mode=attached", f"--port={server.port}", folder=tmp_path) as kernel:
        said = kernel.run("1").text("stderr")
    assert "did you mean DOCKER_KERNEL_MEMORY?" in said


# -- files to begin with


@pytest.mark.parametrize("kind", list(TEMPLATES))
def test_a_template_names_every_setting_and_sets_what_it_says(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "--template", kind]) == 0
    text = capsys.readouterr().out
    assert text == template(kind)
    assert sorted(re.findall(r"^(?:# )?c\.Settings\.(\w+) = ", text, re.MULTILINE)) == NAMES
    assert max(map(len, text.splitlines())) <= 100
    (folder / "docker_kernel_config.py").write_text(text)
    found = show(capsys)
    chosen = {name: value for name, (value, _) in TEMPLATES[kind][1].items()}
    assert {
        name: found[name]["value"] for name in NAMES if found[name]["source"] == "file"
    } == chosen
    assert found[""]["notes"] == []


def test_generate_config(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "docker_kernel_config.py"
    assert main(["--generate-config"]) == 0
    assert str(path) in capsys.readouterr().out
    assert {show(capsys)[name]["source"] for name in NAMES} == {"default"}
    # With all of it uncommented, it is what counts anyway.
    text = path.read_text()
    assert "docker-kernel --generate-config has written it" in text
    assert " > " not in text  # it needs no help of a shell, which would empty the file first
    path.write_text(re.sub(r"^# (c\.Settings\.)", r"\1", text, flags=re.MULTILINE))
    found = show(capsys)
    assert {found[name]["source"] for name in NAMES} == {"file"}
    assert all(found[name]["value"] == found[name]["default"] for name in NAMES)
    # What somebody has written is never overwritten; the kernel's own program does the same.
    path.write_text("# mine")
    done = subprocess.run(
        [sys.executable, "-m", "docker_kernel", "--generate-config"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert path.read_text() == "# mine"


# -- help, pages and completion


def test_help_all_has_every_verb_and_every_setting_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help-all"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for verb in verbs_of(make_parser()):
        assert said.count(f"usage: {Path(sys.argv[0]).name}") == 0
        assert f" {verb} [-h]" in said
    for name in NAMES:
        assert len(re.findall(rf"--Settings\.{name}\b", said)) == 1, name


def test_no_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "which VERB?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["config", "--netwrk", "none"],
            "config: error: unrecognized arguments: --netwrk none; did you mean --network?",
        ),
        (["ps", "--jsn"], "ps: error: unrecognized arguments: --jsn; did you mean --json?"),
        (["ps", "x"], "ps: error: unrecognized arguments: x\n"),
    ],
)
def test_an_option_that_does_not_exist(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    found = capsys.readouterr().err
    assert said in found
    assert found.startswith(f"usage: docker-kernel {words[0]} ")


def rows(text: str, head: str) -> Iterator[list[str]]:
    """The rows of the table with this head."""
    for line in text.partition(f"{head}\n")[2].splitlines()[1:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_page_on_commands_says_what_the_command_does() -> None:
    text = COMMANDS.read_text("utf-8")
    verbs = list(verbs_of(make_parser()))
    assert [row[0].strip("`").split()[0] for row in rows(text, "| verb | what it does |")] == verbs
    codes = {int(code): meaning for code, meaning in rows(text, "| exit code | meaning |")}
    assert codes == EXIT_CODES
    assert {row[0].strip("`"): row[1] for row in rows(text, "| id | what it is about |")} == IDS
    with_json = [
        name for name, parser in verbs_of(make_parser()).items() if "--json" in parser.format_help()
    ]
    (said,) = re.findall(r"^(`list`, .*) take `--json`", text, re.MULTILINE)
    assert sorted(word.split()[0] for word in re.findall(r"`([^`]+)`", said)) == sorted(with_json)


def test_the_page_on_settings_has_them_all() -> None:
    written = PAGE.read_text("utf-8")
    assert written == page(), "write it anew: .venv/bin/python tests/settings_page.py"


COMPLETE = """
eval "$(register-python-argcomplete docker-kernel jupyter)"
COMP_WORDS=("$@") COMP_LINE="$*" COMP_TYPE=9
COMP_CWORD=$(($# - 1)) COMP_POINT=${#COMP_LINE}
_python_argcomplete "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("docker-kernel un", {"uninstall"}),
        ("docker-kernel install --me", {"--memory"}),
        ("docker-kernel config --template ", {"development", "production"}),
        ("docker-kernel uninstall tor", {"torch"}),
        ("jupyter docker-kernel pru", {"prune"}),
        ("docker-kernel run scr", {"script.py"}),
    ],
)
def test_a_shell_completes_names(
    line: str, offered: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    assert main(["install", "--name", "torch"]) == 0
    (tmp_path / "script.py").touch()
    monkeypatch.chdir(tmp_path)
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *line.split(" ")],
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert offered == {word.strip() for word in done.stdout.split() if not word.startswith("-h")}


SLOW = ["docker", "requests", "zmq", "IPython", "jupyter_client", "nbclient", "nbformat", "tqdm"]


def test_the_command_imports_nothing_slow_before_it_needs_it() -> None:
    code = (
        "import sys; from docker_kernel.cli import make_parser; make_parser();"
        f"print([name for name in {SLOW!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
