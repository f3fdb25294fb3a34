"""docker-kernel build: images that the engine really builds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest

from company import Company, company
from conftest import or_give_up
from docker_kernel.requirements import FOLDER
from kernels import PATIENCE
from terminal import on_terminal
from wheels import wheel

PROGRAM = "import sys; from docker_kernel.cli import main; sys.exit(main(['build', *sys.argv[1:]]))"
TAG = "docker-kernel-test/built"
USER = "1234:1234"
CONDA = """\
FROM {base}
RUN printf '#!/bin/sh\\nwhile [ "$2" ]; do shift; done; cat $1\\n' > /usr/bin/conda
RUN chmod 755 /usr/bin/conda
USER {user}
"""
BUILDING = f"pip install --requirement {FOLDER}"
PROXY = "http://somebody:a-password@192.0.2.1:3128"


@pytest.fixture(scope="module")
def network(
    docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """A company with an index of packages: one package, and one that never comes."""
    folder = tmp_path_factory.mktemp("company") / "pages"
    index = folder / "simple" / "zz-indexed"
    index.mkdir(parents=True)
    name = wheel(index, "zz_indexed").name
    (index / "index.html").write_text(f'<a href="{name}">{name}</a>')
    with or_give_up():
        server = company(docker_client, folder)
        found = server.__enter__()
    try:
        yield found
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def base(
    image: str, docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The image with a user of its own, and something called conda, which shows what it is given:
    conda itself comes from nowhere here."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "Dockerfile").write_text(CONDA.format(base=image, user=USER))
    name = "docker-kernel-test/conda"
    docker_client.images.build(path=str(folder), tag=name, rm=True)
    return name


@pytest.fixture
def environ(network: Company, tmp_path: Path) -> dict[str, str]:
    """A proxy that isn't there, and the company's server, which needs none."""
    folders = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("DATA", "CONFIG")}
    proxies = {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "NO_PROXY": network.host}
    return {**os.environ, **folders, **proxies, **{k.lower(): v for k, v in proxies.items()}}


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *words]


def build(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )


def unproved(network: Company) -> str:
    """For a requirements file: the company's index, whoever that is."""
    return f"--index-url {network.url}simple\n--trusted-host {network.host}:{network.port}\n"


def containers(client: docker.DockerClient, words: str) -> list[str]:
    """Those whose command has these words."""
    found = client.api.containers(all=True)
    return [item["Id"] for item in found if words in item["Command"]]


def test_an_environment_a_file_and_a_package_become_a_kernel(
    network: Company,
    base: str,
    environ: dict[str, str],
    tmp_path: Path,
    docker_client: docker.DockerClient,
) -> None:
    """E4: of an index that a company's authority vouches for, and of files of this machine."""
    version = "{}.{}".format(*sys.version_info)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.txt").write_text(f"./{wheel(tmp_path / 'sub', 'zz_local').name}\n")
    (tmp_path / "requirements.txt").write_text(
        f"--index-url {network.url}simple\nzz-indexed\n-r sub/more.txt\n"
    )
    (tmp_path / "environment.yml").write_text(
        f"name: x\nchannels: [conda-forge]\ndependencies: [python={version}, zz-conda]\n"
    )
    named = wheel(tmp_path, "zz_named")
    files = [f"-r{tmp_path / name}" for name in ("environment.yml", "requirements.txt")]
    words = [*files, str(named), "--base", base, "--tag", TAG, "--extra-ca", str(network.ca)]
    done = build(environ, *words, "--install", "--json")
    assert done.returncode == 0, done.stderr
    said, made = json.loads(done.stdout), docker_client.images.get(TAG)
    assert said == {
        "image": TAG,
        "id": made.id,
        "size_bytes": made.attrs["Size"],
        "base": base,
        "kernel": "built",
    }
    assert "- zz-conda" in done.stderr  # conda's part came to conda
    assert "Successfully installed" in done.stderr
    # The base's user is kept, and nothing of the proxies.
    assert made.attrs["Config"]["User"] == USER
    assert "a-password" not in str(made.attrs) + str(made.history())
    spec = json.loads((tmp_path / "DATA" / "kernels" / "built" / "kernel.json").read_text())
    assert f"--Settings.image={TAG}" in spec["argv"]
    code = "import zz_indexed, zz_local, zz_named"
    docker_client.containers.run(TAG, ["python3", "-c", code], remove=True)
    # The second time, the engine has it all; on a terminal there is a bar.
    status, printed, shown = on_terminal(command(*words), environ)
    assert status == 0
    assert f"docker-kernel install --name built --image {TAG}" in printed
    assert re.search(rb"\d of \d steps", shown)
    assert b"Successfully installed" not in shown
    assert docker_client.images.get(TAG).id == made.id


def test_a_build_that_fails_says_why_and_leaves_nothing(
    network: Company,
    image: str,
    environ: dict[str, str],
    tmp_path: Path,
    docker_client: docker.DockerClient,
) -> None:
    (tmp_path / "r.txt").write_text(f"{unproved(network)}zz-nowhere\n")
    words = [f"-r{tmp_path / 'r.txt'}", "--base", image, "--tag", f"{TAG}:failed"]
    done = build(environ, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ERROR: No matching distribution found for zz-nowhere\n" in done.stderr
    assert "can't be built: ERROR: No matching distribution found for zz-nowhere" in done.stderr
    assert "check the name and the version" in done.stderr
    assert not docker_client.images.list(name=f"{TAG}:failed")
    assert not containers(docker_client, BUILDING)


def test_ctrl_c_ends_the_build_in_the_engine_too(
    network: Company,
    image: str,
    environ: dict[str, str],
    tmp_path: Path,
    docker_client: docker.DockerClient,
) -> None:
    (tmp_path / "r.txt").write_text(f"{unproved(network)}zz-stall\n")
    words = [f"-r{tmp_path / 'r.txt'}", "--base", image, "--tag", f"{TAG}:interrupted"]
    with subprocess.Popen(command(*words), env=environ, stderr=subprocess.PIPE) as process:
        assert network.stalled.wait(PATIENCE)
        (running,) = containers(docker_client, BUILDING)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    with suppress(docker.errors.NotFound):
        docker_client.api.wait(running, condition="removed", timeout=int(PATIENCE))
    assert not containers(docker_client, BUILDING)


def test_conda_packages_need_conda(image: str, environ: dict[str, str], tmp_path: Path) -> None:
    """E11: rather than an image without them."""
    (tmp_path / "environment.yml").write_text("dependencies: [gdal=3.9]")
    done = build(environ, f"-r{tmp_path / 'environment.yml'}", "--base", image, "--tag", TAG)
    assert done.returncode == 1
    assert "conda packages are asked for (gdal=3.9)" in done.stderr
    assert "--base condaforge/miniforge3" in done.stderr


def test_an_environment_whose_python_the_base_has_not(
    image: str, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "environment.yml").write_text("dependencies: [python=3.99, {pip: [six]}]")
    done = build(environ, f"-r{tmp_path / 'environment.yml'}", "--base", image, "--tag", TAG)
    assert done.returncode == 1
    assert "the environment asks for ==3.99.*" in done.stderr
