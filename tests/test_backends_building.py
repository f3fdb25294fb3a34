"""How an image is built: the Dockerfile, the proxies, and why it failed."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from docker_kernel.backends.building import (
    Recipe,
    check_apt,
    check_name,
    diagnose,
    find_conda,
    proxies,
)
from docker_kernel.errors import EngineRefused, SettingError
from docker_kernel.requirements import CONDA_FILE, FOLDER, PIP_FILE, Wanted


def recipe(files: dict[str, bytes], **keys: Any) -> Recipe:
    return Recipe("base:1", keys.pop("user", ""), "/usr/bin/python3", Wanted(files), **keys)


def steps(made: Recipe) -> list[str]:
    """The first word of each line, and what is run."""
    found = []
    for line in made.dockerfile().splitlines():
        word, _, rest = line.partition(" ")
        command = [part for part in json.loads(rest) if "=" not in part] if word == "RUN" else []
        found.append(" ".join(["RUN", *command]) if command else line)
    return found


def test_packages_of_pip_alone() -> None:
    pip = f"RUN env /usr/bin/python3 -m pip install --requirement {FOLDER}/{PIP_FILE}"
    assert steps(recipe({PIP_FILE: b"six\n"}, user="1000:100")) == [
        "FROM base:1",
        "USER root",
        f"COPY files {FOLDER}",
        pip,
        "USER 1000:100",
    ]


def test_the_order_is_debian_certificates_conda_pip() -> None:
    files = {PIP_FILE: b"six\n", CONDA_FILE: b"dependencies: [gdal]\n"}
    made = recipe(files, apt=["tree", "gcc"], conda="/opt/conda/bin/mamba", certificates=b"x")
    apt, fill, conda, pip = [line for line in steps(made) if line.startswith("RUN")]
    assert apt.endswith("apt tree gcc")
    assert "fill.py" in fill
    assert "mamba env update --name base --file" in conda
    assert "pip install" in pip
    assert "PIP_CERT=/usr/local/share/docker-kernel/ca/bundle.pem" in made.dockerfile()
    with tarfile.open(fileobj=io.BytesIO(made.context())) as tar:
        names = set(tar.getnames())
    assert {"Dockerfile", f"files/{PIP_FILE}", f"files/{CONDA_FILE}", "files/ca.tar"} <= names


def test_debian_packages_alone_need_no_files() -> None:
    assert not any(line.startswith("COPY") for line in steps(recipe({}, apt=["tree"])))


def test_micromamba_has_words_of_its_own() -> None:
    text = " ".join(steps(recipe({CONDA_FILE: b""}, conda="micromamba")))
    assert "micromamba install --yes --name base" in text


def test_conda_is_looked_for() -> None:
    def run(program: str, _arguments: list[str]) -> tuple[int, str]:
        if program == "mamba":
            raise EngineRefused("creating failed", "executable file not found")
        return (0, "") if program == "/opt/conda/bin/conda" else (1, "")

    assert find_conda(run) == "/opt/conda/bin/conda"
    assert find_conda(lambda *_: (127, "")) == ""


def test_proxies_that_a_container_reaches() -> None:
    environ = {
        "HTTPS_PROXY": "http://proxy.example.com:3128",
        "http_proxy": "localhost:3128",
        "ALL_PROXY": "socks5://127.0.0.1:1080",
        "NO_PROXY": "localhost,.example.com",
        "OTHER": "x",
    }
    assert set(proxies(environ)) == {"HTTPS_PROXY", "NO_PROXY"}


@pytest.mark.parametrize(
    "tag", ["a", "team/analysis", "localhost:5000/x:1.0", "reg.example.com/a/b-c__d:v_1", "a.b"]
)
def test_names(tag: str) -> None:
    check_name(tag)


@pytest.mark.parametrize("tag", ["", "Upper", "a b", "a:", "-a", "a/", "a@sha256:00", "a:b c", "ä"])
def test_what_is_no_name(tag: str) -> None:
    with pytest.raises(SettingError, match="can't be an image's name"):
        check_name(tag)


@pytest.mark.parametrize("name", ["-y", "a b", "a;b", "--"])
def test_what_is_no_package_of_debians(name: str) -> None:
    check_apt(["tree", "libstdc++6", "python3=3.11.2-1+b1"])
    with pytest.raises(SettingError, match="apt"):
        check_apt([name])


@pytest.mark.parametrize(
    ("tail", "why", "advice"),
    [
        (["ERROR: No matching distribution found for zz"], "No matching", "check the name"),
        (
            ["x SSLError(CERTIFICATE_VERIFY_FAILED)", "ERROR: No matching distribution found"],
            "No matching distribution found; before that: x SSLError",
            "--extra-ca",
        ),
        (["E: Unable to locate package zz"], "Unable to locate", "packages.debian.org"),
        (["/usr/bin/python3: No module named pip"], "returned 1", "--apt python3-pip"),
        (["sh: 1: apt-get: not found"], "returned 1", "Debian or Ubuntu"),
        (["error: command 'gcc' failed", "ERROR: Failed building wheel for x"], "x", "--apt build"),
        (["ERROR: [Errno 28] No space left on device"], "No space", "docker system df"),
        (["Err:1 Temporary failure resolving 'deb'"], "returned 1", "HTTPS_PROXY"),
        (["Segmentation fault"], "returned 1", "read what it printed"),
        ([], "returned 1", "read what it printed"),
    ],
)
def test_why_it_failed(tail: list[str], why: str, advice: str) -> None:
    found, remedy = diagnose(tail, "the command returned 1")
    assert why in found
    assert advice in remedy
