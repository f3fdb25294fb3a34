"""A company's authority, which programs in the container trust as well: the setting extra_ca."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from cells import run
from company import Company, company
from conftest import or_give_up
from docker_kernel.backends.container import DockerBackend
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from wheels import wheel

PACKAGE = "zz_company"

# Each is tried twice: as the container has it, and without the variables that extra_ca sets.
LOOK = """
import os, ssl, subprocess, sys
HOST, URL = {address!r}, {url!r}
set_by_us = [name for name, value in os.environ.items() if "/opt/docker-kernel/ca/" in value]
bare = {{name: value for name, value in os.environ.items() if name not in set_by_us}}
OPEN = "import urllib.request; print(urllib.request.urlopen(%r).status)" % URL
GET = "from pip._vendor import requests; print(requests.get(%r).status_code)" % URL
PIP = ["-m", "pip", "--quiet", "install", "--retries=0", "--index-url", URL + "simple", {package!r}]
COMMANDS = {{
    "ssl": [sys.executable, "-c", OPEN],
    "requests": [sys.executable, "-c", GET],
    "openssl": ["openssl", "s_client", "-verify_return_error", "-brief", "-connect", HOST],
    "pip": [sys.executable, *PIP],
}}
def works(command, env):
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    return done.returncode == 0
found = {{name: (works(command, bare), works(command, os.environ))
          for name, command in COMMANDS.items()}}
found["trusted"] = ssl.create_default_context().cert_store_stats()["x509_ca"] > 20
found["imported"] = subprocess.run([sys.executable, "-c", "import " + {package!r}]).returncode
"""


@pytest.fixture(scope="module")
def network(
    docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """A company with an index of packages."""
    folder = tmp_path_factory.mktemp("company") / "pages"
    index = folder / "simple" / PACKAGE.replace("_", "-")
    index.mkdir(parents=True)
    name = wheel(index, PACKAGE).name
    (index / "index.html").write_text(f'<a href="{name}">{name}</a>')
    with or_give_up():
        server = company(docker_client, folder)
        found = server.__enter__()
    try:
        yield found
    finally:
        server.__exit__(None, None, None)


def test_programs_trust_it_and_what_the_image_trusts(network: Company, image: str) -> None:
    """By the variables alone, in a container that can't be written to; nobody else trusts it."""
    settings = Settings(
        image=image, extra_ca=str(network.ca), read_only=True, mount_workspace=False
    )
    backend = DockerBackend(settings)
    try:
        endpoint = backend.start(Deadline(120), print)
        address = f"{network.host}:{network.port}"
        code = LOOK.format(address=address, url=network.url, package=PACKAGE)
        assert run(endpoint, code) == {
            "ssl": (False, True),
            "requests": (False, True),
            "openssl": (False, True),
            "pip": (False, True),
            "trusted": True,
            "imported": 0,
        }
    finally:
        backend.stop()
