"""Settings: their order, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from traitlets.config import Application, Config

from docker_kernel.config import Settings
from docker_kernel.errors import SettingError


class Program(Application):
    """A program with our settings on its command line."""

    classes = [Settings]  # noqa: RUF012 - traitlets wants it so


def load(
    *argv: str, environ: dict[str, str] | None = None, file: dict[str, object] | None = None
) -> Settings:
    """The settings for a command line, an environment and a config file."""
    program = Program()
    program.parse_command_line(list(argv))
    config = Config({"Settings": file or {}})
    config.merge(program.config)
    return Settings.load(config, program.cli_config, environ or {})


def test_order_is_command_line_environment_file_default() -> None:
    settings = load(
        "--Settings.memory=4g",
        environ={"DOCKER_KERNEL_MEMORY": "3g", "DOCKER_KERNEL_PIDS": "99"},
        file={"memory": "1g", "pids": 77, "image": "from-file"},
    )
    assert (settings.memory, settings.pids, settings.image) == ("4g", 99, "from-file")
    assert settings.pull == "missing"


def test_every_setting_has_help_and_can_come_from_the_environment(
    tmp_path: Path,
) -> None:
    texts = {"mode": "docker", "pull": "never", "memory": "1g", "user": "1:1", "env": "{'A': 'b'}"}
    texts |= {
        "mounts": "/a:/b",
        "userns": "host",
        "gpus": "all",
        "disk_size": "1g",
        "shm_size": "1g",
        "tmp_size": "1g",
        "audit_log": "~/x.log",
        "warm": "2",
    }
    (tmp_path / "profile").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    texts["seccomp"] = str(tmp_path / "profile")
    trustme.CA().cert_pem.write_to_path(tmp_path / "authority")
    texts["extra_ca"] = str(tmp_path / "authority")
    for name, trait in Settings.class_traits(config=True).items():
        assert trait.help, name
        texts.setdefault(
            name,
            {"Unicode": "x", "Bool": str(not trait.default())}.get(type(trait).__name__, "300"),
        )
    environ = {f"DOCKER_KERNEL_{name.upper()}": text for name, text in texts.items()}
    settings = load(environ=environ)
    unchanged = [
        name
        for name, trait in settings.traits(config=True).items()
        if getattr(settings, name) == trait.default()
    ]
    assert unchanged == []


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load(environ={"DOCKER_KERNEL_MEMORY": "", "DOCKER_HOST": ""}).memory == "2g"


def test_arguments_give_the_same_settings_again() -> None:
    settings = load(
        "--Settings.env=A=1=2",
        "--Settings.env=B=with space",
        "--Settings.cpus=1.5",
        "--Settings.mount_workspace=False",
        "--Settings.image=localhost:5000/a/b@sha256:12",
        "--Settings.mounts=/a:/b:ro",
        "--Settings.mounts=/c,d:/e",
    )
    again = load(*settings.as_arguments())
    assert again.as_arguments() == settings.as_arguments()
    assert again.env == {"A": "1=2", "B": "with space"}
    assert again.mounts == ["/a:/b:ro", "/c,d:/e"]
    assert load().as_arguments() == []
    assert load(environ={"DOCKER_KERNEL_MOUNTS": "/a:/b, /c:/d:ro"}).mounts == ["/a:/b", "/c:/d:ro"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("memory", "lots", "number and a unit"),
        ("memory", "1m", "too little"),
        ("cpus", "nan", "from 0"),
        ("cpus", "-1", "from 0"),
        ("cpus", "many", "cpus is many: it must be a number"),
        ("pids", "0", "from 16"),
        ("pids", "12.5", "a whole number"),
        ("port", "65536", "65535"),
        ("start_timeout", "0", "from 1"),
        ("user", "; rm -rf /", "UID:GID"),
        ("network", "host", "docker network ls"),
        ("network", "container:x", "docker network ls"),
        ("network", "ns:/proc/1/ns/net", "the network of others"),
        ("network", "HOST", "the network of others"),
        ("network", "a b", "letters, digits"),
        ("mode", "dokcer", "mode is dokcer: it must be docker, local, attached or auto"),
        ("pull", "sometimes", "missing, always or never"),
        ("mount_workspace", "perhaps", "True or False"),
        ("shm_size", "much", "number and a unit"),
        ("tmp_size", "1k", "the home folder is in it"),
        ("disk_size", "1m", "too little"),
        ("nofile", "3", "from 256"),
        ("runtime", "a b", "a name has letters"),
        ("extra_ca", "/nowhere.pem", "No such file"),
        ("extra_ca", "/etc/hostname", "no certificate in it"),
        ("gpus", "0", "write all, auto, a number"),
        ("gpus", "device=", "device=0,1"),
        ("userns", "mine", "it must be host"),
        ("seccomp", "/nowhere.json", "No such file"),
        ("seccomp", "/etc/hostname", "https://docs.docker.com"),
        ("mounts", "/data", "HOST:CONTAINER:ro"),
        ("mounts", "/data:data", "HOST:CONTAINER:ro"),
        ("mounts", "/a:/b:rx", "HOST:CONTAINER:ro"),
        ("mounts", "/a:/b,/c:/b/", "/b twice"),
        ("allow_dangerous_mount", "perhaps", "True or False"),
        ("audit_log", "here.log", "a whole path"),
        ("env", "bla", "names and values"),
        ("env", "{'': 'x'}", "NAME=VALUE"),
    ],
)
def test_a_bad_value_says_what_is_right_and_where_it_stands(
    name: str, value: str, words: str
) -> None:
    variable = f"DOCKER_KERNEL_{name.upper()}"
    with pytest.raises(SettingError, match=words) as caught:
        load(environ={variable: value})
    assert caught.value.remedy.startswith(f"correct {variable}")
    if name not in ("env", "mounts"):
        with pytest.raises(SettingError, match=words) as caught:
            load(f"--Settings.{name}={value}")
        assert caught.value.remedy.startswith(f"correct --Settings.{name}")


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"DOCKER_PORT": "99999"}, "DOCKER_PORT"),
        ({"DOCKER_PORT": "http"}, "DOCKER_PORT"),
        ({"DOCKER_HOST": "localhost:99999"}, "DOCKER_HOST"),
        ({"DOCKER_PORT": "1", "DOCKER_TIMEOUT": "0"}, "DOCKER_TIMEOUT"),
        ({"DOCKER_PORT": "1", "DOCKER_KERNEL_PORT": "-1"}, "DOCKER_KERNEL_PORT"),
    ],
)
def test_the_variable_that_is_wrong_is_named(environ: dict[str, str], source: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(environ=environ)
    assert caught.value.remedy == f"correct {source}"


def test_a_bad_value_in_a_file_says_where_it_stands() -> None:
    with pytest.raises(SettingError, match=r"c\.Settings\.pids in docker_kernel_config"):
        load(file={"pids": 1})
    # What nothing comes of does no harm.
    assert load("--Settings.pids=99", file={"pids": 1}).pids == 99


def test_the_workspace_is_resolved_and_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert load(f"--Settings.workspace={tmp_path}/link").workspace_folder() == tmp_path.resolve()
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="not a folder"):
        load(f"--Settings.workspace={tmp_path}/file").workspace_folder()
    with pytest.raises(SettingError, match="nowhere"):
        load("--Settings.workspace=/nowhere/at/all").workspace_folder()
    assert load().workspace_folder() == Path.cwd()


def test_reading_settings_imports_nothing_slow() -> None:
    code = (
        "import sys; from docker_kernel.config import Settings; Settings.load();"
        "print([name for name in ('docker', 'requests', 'IPython', 'zmq') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
