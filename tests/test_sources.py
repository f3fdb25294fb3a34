"""Where settings come from: what DOCKER_HOST means. Their order: test_config.py."""

from __future__ import annotations

import pytest

from docker_kernel.config import Settings
from docker_kernel.errors import SettingError
from docker_kernel.reader import SettingsReader
from docker_kernel.sources import engine_url


@pytest.mark.parametrize(
    ("environ", "mode", "address", "engine"),
    [
        ({}, "docker", ("localhost", 8000), ""),
        ({"DOCKER_HOST": "unix:///x.sock"}, "docker", ("localhost", 8000), "unix:///x.sock"),
        ({"DOCKER_HOST": "ssh://me@there"}, "docker", ("localhost", 8000), "ssh://me@there"),
        ({"DOCKER_HOST": "localhost"}, "attached", ("localhost", 8000), ""),
        ({"DOCKER_HOST": "box", "DOCKER_PORT": "9"}, "attached", ("box", 9), ""),
        ({"DOCKER_HOST": "box:9"}, "attached", ("box", 9), ""),
        ({"DOCKER_HOST": "::1"}, "attached", ("::1", 8000), ""),
        ({"DOCKER_HOST": "[::1]:9"}, "attached", ("::1", 9), ""),
        ({"DOCKER_HOST": "[FE80::1%eth0]"}, "attached", ("FE80::1%eth0", 8000), ""),
        ({"DOCKER_HOST": "box:9", "DOCKER_PORT": "10"}, "attached", ("box", 10), ""),
        (
            {"DOCKER_HOST": "unix:///x", "DOCKER_PORT": "9"},
            "attached",
            ("localhost", 9),
            "unix:///x",
        ),
        (
            {"DOCKER_HOST": "box", "DOCKER_KERNEL_HOST": "other"},
            "attached",
            ("other", 8000),
            "",
        ),
        (
            {"DOCKER_HOST": "box", "DOCKER_KERNEL_MODE": "docker"},
            "docker",
            ("box", 8000),
            "",
        ),
    ],
)
def test_docker_host_names_an_engine_or_a_server(
    environ: dict[str, str], mode: str, address: tuple[str, int], engine: str
) -> None:
    settings = Settings.load(environ=environ)
    assert settings.resolved_mode() == mode
    assert settings.server_address() == address
    assert engine_url(environ) == engine


@pytest.mark.parametrize(
    ("connect", "address"),
    [
        ("box", ("box", 8000)),
        ("box:9", ("box", 9)),
        ("[::1]:9", ("::1", 9)),
        ("::1", ("::1", 8000)),
    ],
)
def test_connect_takes_a_host_with_its_port(connect: str, address: tuple[str, int]) -> None:
    """E3"""
    reader = SettingsReader()
    settings = Settings.load(reader.read([f"--connect={connect}"]), reader.cli_config, environ={})
    assert settings.resolved_mode() == "attached"
    assert settings.server_address() == address


@pytest.mark.parametrize("host", ["box:http", "box:99999", "http://box"])
def test_what_connect_does_not_take(host: str) -> None:
    with pytest.raises(SettingError, match="DOCKER_KERNEL_HOST"):
        Settings.load(environ={"DOCKER_KERNEL_HOST": host})


def test_docker_timeout_counts_for_a_running_server_alone() -> None:
    assert Settings.load(environ={"DOCKER_PORT": "9", "DOCKER_TIMEOUT": "3"}).start_timeout == 3
    assert Settings.load(environ={"DOCKER_TIMEOUT": "3"}).start_timeout == 120


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("/var/run/docker.sock", r"unix:///var/run/docker\.sock"),
        ("a b", "NAME or NAME:PORT"),
        ("box:http", "NAME or NAME:PORT"),
        ("tcp:/box", "NAME or NAME:PORT"),
        (":9", "NAME or NAME:PORT"),
        ("[::1", "NAME or NAME:PORT"),
    ],
)
def test_a_docker_host_that_names_nothing(host: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Settings.load(environ={"DOCKER_HOST": host})
