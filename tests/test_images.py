"""The images that the container tests use, each in a container."""

from __future__ import annotations

import sys
from pathlib import Path

import docker
import pytest

import images
from pip_access import PipAccess, paths_in
from pip_access import pip_access as find_pip_access
from system import CannotError

NO_ACCESS = PipAccess()
# Kernels run as somebody who is not root.
USER = "1000:1000"


def output(
    client: docker.DockerClient, image: str, *command: str, access: PipAccess = NO_ACCESS
) -> str:
    """What a command prints in a container that is removed after it."""
    raw = client.containers.run(
        image,
        list(command),
        remove=True,
        user=USER,
        environment=access.env,
        volumes=access.binds(),
    )
    return bytes(raw).decode().strip()


def test_recipe_tag_changes_with_the_recipe() -> None:
    kinds = [images.recipe(kind) for kind in images.KINDS]
    assert len({made.tag for made in kinds}) == len(images.KINDS)
    assert images.recipe("old") == images.recipe("old")
    assert images.recipe("base", (3, 11)).tag != images.recipe("base", (3, 13)).tag


@pytest.mark.parametrize("version", [(3, 10), (3, 12), (3, 14)])
def test_a_python_that_debian_lacks_is_copied(version: tuple[int, int]) -> None:
    made = images.recipe("base", version)
    assert f"{sys.base_prefix}/bin/python{version[0]}.{version[1]}" in made.script


def test_image_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "user_cache_path", lambda _: tmp_path)
    monkeypatch.setattr(images, "is_root", lambda: False)
    with pytest.raises(CannotError, match="as root on Debian or Ubuntu"):
        images.file_system(images.recipe("old"))


@pytest.mark.skipif(
    images.cannot_make(images.recipe("old")) is not None, reason="only root makes file systems"
)
def test_a_recipe_that_fails_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "user_cache_path", lambda _: tmp_path)
    broken = images.Recipe("broken", "mkdir root\necho no such thing >&2\nfalse\n", "sh")
    with pytest.raises(CannotError, match="no such thing"):
        images.file_system(broken)
    assert not list(tmp_path.glob("*.tar"))
    assert not [path for path in tmp_path.glob("broken.*") if path.is_dir()]


def test_base_has_this_python_and_pip(docker_client: docker.DockerClient, image: str) -> None:
    version = output(
        docker_client, image, "python3", "-c", "import sys; print(sys.version_info[:2])"
    )
    assert version == str(sys.version_info[:2])
    assert output(docker_client, image, "python3", "-m", "pip", "--version").startswith("pip ")
    assert output(docker_client, image, "python3", "-c", "import ssl, sqlite3") == ""


def test_old_has_python_3_9(docker_client: docker.DockerClient, old_image: str) -> None:
    assert output(docker_client, old_image, "python3", "-V").startswith("Python 3.9.")


def test_ipython_has_its_own(docker_client: docker.DockerClient, ipython_image: str) -> None:
    assert output(docker_client, ipython_image, "ipython3", "--version") == "8.5.0"


def test_nopython_has_a_shell_alone(
    docker_client: docker.DockerClient, nopython_image: str
) -> None:
    command = "command -v python python3 || echo none"
    assert output(docker_client, nopython_image, "sh", "-c", command) == "none"


def test_environment_is_sensible(docker_client: docker.DockerClient, old_image: str) -> None:
    made = docker_client.images.get(old_image)
    assert "LANG=C.UTF-8" in made.attrs["Config"]["Env"]
    assert made.attrs["Config"]["Cmd"] == ["python3"]


def test_pip_reaches_its_index_from_a_container(
    docker_client: docker.DockerClient, image: str, pip_access: PipAccess
) -> None:
    command = "python3 -m pip download -q --no-deps -d /tmp/got six && ls /tmp/got"
    assert "six-" in output(docker_client, image, "sh", "-c", command, access=pip_access)


def test_pip_access_names_files_that_are_there(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    access = find_pip_access({"SSL_CERT_FILE": str(bundle), "https_proxy": "http://there:1"})
    assert access.env["SSL_CERT_FILE"] == str(bundle)
    assert access.env["https_proxy"] == "http://there:1"
    assert bundle in access.mounts
    assert paths_in(f"file://{bundle} https://somewhere/simple /no/such") == [bundle]
