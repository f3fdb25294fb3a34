"""A registry that serves nobody without a login: Docker's own, by its credential helpers (E4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from kernels import PATIENCE
from registry import Registry

PROGRAM = "import sys; from docker_kernel.cli import main; sys.exit(main(sys.argv[1:]))"
LOGIN = "somebody:a-password"
HELPER = """\
#!/bin/sh
# As Docker's own: the action on the command line, the registry on stdin.
read -r server
if [ "$server" = "{host}" ]; then
    echo '{{"ServerURL": "{host}", "Username": "somebody", "Secret": "{password}"}}'
else
    echo 'credentials not found in native keychain'
    exit 1
fi
"""


@pytest.fixture(scope="module")
def registry(docker_client: docker.DockerClient) -> Iterator[Registry]:
    found = Registry("private", LOGIN)
    try:
        yield found
    finally:
        found.close()
        for item in docker_client.images.list(name=f"{found.host}/box"):
            docker_client.images.remove(str(item.id), force=True)


class Person:
    """Somebody with a Docker configuration, and helpers on their PATH."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder = folder
        self._registry = registry

    def has_helper(self, name: str, *, host: str = "", login: str = LOGIN) -> None:
        word = login.partition(":")[2]
        path = self._folder / f"docker-credential-{name}"
        path.write_text(HELPER.format(host=host or self._registry.host, password=word))
        path.chmod(0o755)

    def run(self, config: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours, with this as Docker's config.json."""
        (self._folder / "config.json").write_text(json.dumps(config))
        environ = {
            **os.environ,
            "DOCKER_CONFIG": str(self._folder),
            "PATH": f"{self._folder}:{os.environ['PATH']}",
        }
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def pull(self, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        return self.run(config, "pull", f"{self._registry.host}/box:1")


@pytest.fixture
def person(tmp_path: Path, registry: Registry) -> Person:
    return Person(tmp_path, registry)


@pytest.mark.parametrize("how", ["credHelpers", "credsStore"])
def test_a_helper_knows_the_login(person: Person, registry: Registry, how: str) -> None:
    person.has_helper("ours")
    config = {how: {registry.host: "ours"} if how == "credHelpers" else "ours"}
    done = person.pull(config)
    assert (done.returncode, "a-password" in done.stdout + done.stderr) == (0, False), done.stderr


def test_without_a_login_it_says_how_to_log_in(person: Person, registry: Registry) -> None:
    """Nobody has one; the helper doesn't know it; or it is wrong."""
    person.has_helper("other", host="elsewhere.example.com")
    person.has_helper("wrong", login="somebody:another")
    for config in ({}, {"credsStore": "other"}, {"credsStore": "wrong"}):
        done = person.pull(config)
        assert done.returncode == 1
        assert f"docker login {registry.host}" in done.stderr


def test_a_helper_that_is_missing_is_named(person: Person) -> None:
    """As on WSL, where Docker Desktop's isn't on the PATH."""
    done = person.pull({"credsStore": "desktop.exe"})
    assert done.returncode == 1
    assert "docker-credential-desktop.exe not installed" in done.stderr
    assert "credsStore" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_build_needs_no_login_for_a_base_that_is_here(
    person: Person, image: str, tmp_path: Path
) -> None:
    """Nor sends one: neither that registry's, nor those of all others."""
    (tmp_path / "r.txt").write_text("--no-index\nzz-nowhere\n")
    words = ["--tag", "docker-kernel-test/built:none", "--base", image, "-r", f"{tmp_path}/r.txt"]
    done = person.run({"credsStore": "desktop.exe"}, "build", *words)
    assert "No matching distribution found for zz-nowhere" in done.stderr
    assert "desktop.exe" not in done.stderr
