"""Which engine is meant, in the order of Docker's own program, and how TLS is spoken with it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from docker_kernel.backends.address import Address, Tls, default_url, find, proxies
from docker_kernel.errors import EngineError


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("unix:///var/run/docker.sock", False),
        ("npipe:////./pipe/docker_engine", False),
        ("tcp://localhost:2375", False),
        ("tcp://127.0.0.1:2375", False),
        ("https://[::1]:2376", False),
        ("tcp://127.0.1.1:2375", False),
        ("tcp://10.0.0.7:2375", True),
        ("ssh://me@there", True),
        ("ssh://localhost", True),
    ],
)
def test_which_engines_are_on_another_machine(url: str, remote: bool) -> None:
    assert Address(url).remote is remote


def context(folder: Path, name: str, **endpoint: object) -> Path:
    """Make a Docker context, as `docker context create` does; gives the folder for its files."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    return folder / "contexts" / "tls" / key / "docker"


def write_certificates(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.pem").write_text("")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A folder of Docker's with two contexts, of which `far` was chosen last."""
    context(tmp_path, "far", Host="ssh://me@far", SkipTLSVerify=False)
    context(tmp_path, "near", Host="unix:///near.sock", SkipTLSVerify=False)
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    return tmp_path


@pytest.mark.parametrize(
    ("environ", "url", "named"),
    [
        ({"DOCKER_HOST": "tcp://a:1", "DOCKER_CONTEXT": "near"}, "tcp://a:1", "DOCKER_HOST"),
        ({"DOCKER_CONTEXT": "near"}, "unix:///near.sock", "the Docker context near"),
        ({}, "ssh://me@far", "the Docker context far"),
        ({"DOCKER_CONTEXT": "default"}, default_url(), ""),
        ({"DOCKER_HOST": "a.server.of.ours"}, "ssh://me@far", "the Docker context far"),
    ],
)
def test_the_order_is_dockers(environ: dict[str, str], url: str, named: str, config: Path) -> None:
    """E1"""
    found = find({"DOCKER_CONFIG": str(config), **environ})
    assert (found.url, found.named) == (url, named)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"currentContext": ""}'])
def test_without_a_choice_it_is_this_machines(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert find({"DOCKER_CONFIG": str(tmp_path)}) == Address(default_url())
    assert find({"DOCKER_CONFIG": str(tmp_path / "nowhere")}) == Address(default_url())


@pytest.mark.parametrize("address", ["tcp://ada:{}@h:1", "foo://ada:{}@h", "ssh://ada:{}@h:x"])
def test_a_password_in_an_address_is_not_shown(address: str) -> None:
    """X3: the error stands in a notebook."""
    with pytest.raises(EngineError) as raised:
        find({"DOCKER_HOST": address.format("hunter2-and-more")})
    assert "hunter2" not in str(raised.value)
    assert "ada:***@h" in str(raised.value)


def test_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """E2: its pipe is the default, and ssh is refused with what would be right."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert find({"DOCKER_CONFIG": str(tmp_path)}).url == "npipe:////./pipe/docker_engine"
    assert find({"DOCKER_HOST": "npipe:////./pipe/other"}).url == "npipe:////./pipe/other"
    with pytest.raises(EngineError, match="use tcp:// with TLS"):
        find({"DOCKER_HOST": "ssh://far"})


def test_a_context_that_is_not_there(config: Path) -> None:
    """E2"""
    with pytest.raises(EngineError, match="no Docker context 'fra'") as caught:
        find({"DOCKER_CONFIG": str(config), "DOCKER_CONTEXT": "fra"})
    assert "there are: far, near" in caught.value.why
    assert "docker context use" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "[]", '{"Name": "bad"}', '{"Endpoints": {"docker": 3}}'])
def test_a_context_that_is_damaged(text: str, config: Path) -> None:
    """E2"""
    context(config, "bad")
    key = hashlib.sha256(b"bad").hexdigest()
    (config / "contexts" / "meta" / key / "meta.json").write_text(text)
    with pytest.raises(EngineError, match="the Docker context bad can't be read"):
        find({"DOCKER_CONFIG": str(config), "DOCKER_CONTEXT": "bad"})


def test_tls_of_the_environment(tmp_path: Path) -> None:
    files = write_certificates(tmp_path, "ca", "cert", "key")
    ca, cert, key = (str(files / f"{name}.pem") for name in ("ca", "cert", "key"))
    host = {"DOCKER_HOST": "tcp://far:2376", "DOCKER_CERT_PATH": str(files)}
    assert find({**host, "DOCKER_TLS_VERIFY": "1"}).tls == Tls(ca, cert, key)
    assert find(host).tls == Tls(ca, cert, key, verify=False)
    assert find({"DOCKER_HOST": "tcp://far:2375"}).tls is None
    assert find({"DOCKER_HOST": "https://far:2376"}).tls == Tls()
    assert find({**host, "DOCKER_HOST": "unix:///x", "DOCKER_TLS_VERIFY": "1"}).tls is None


@pytest.mark.parametrize(("there", "words"), [(("cert", "key"), "ca.pem"), (("ca", "key"), "cert")])
def test_tls_with_files_missing(there: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """E2"""
    files = write_certificates(tmp_path, *there)
    environ = {
        "DOCKER_HOST": "tcp://far:2376",
        "DOCKER_CERT_PATH": str(files),
        "DOCKER_TLS_VERIFY": "1",
    }
    with pytest.raises(EngineError, match=words) as caught:
        find(environ)
    assert "DOCKER_CERT_PATH" in caught.value.remedy


def test_tls_of_a_context(tmp_path: Path) -> None:
    tcp = "tcp://far:2376"
    write_certificates(context(tmp_path, "whole", Host=tcp), "ca", "cert", "key")
    write_certificates(context(tmp_path, "authority", Host=tcp), "ca")
    context(tmp_path, "trusting", Host=tcp, SkipTLSVerify=True)
    context(tmp_path, "plain", Host=tcp, SkipTLSVerify=False)

    def tls(name: str) -> Tls | None:
        return find({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": name}).tls

    whole, authority = tls("whole"), tls("authority")
    assert whole is not None
    assert whole.verify
    assert Path(whole.key).name == "key.pem"
    assert authority is not None
    assert Path(authority.authority).name == "ca.pem"
    assert authority.certificate == ""
    assert tls("trusting") == Tls(verify=False)
    assert tls("plain") is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address("tcp://far:2375"), "not encrypted"),
        (Address("tcp://far:2376", tls=Tls(verify=False)), "not checked"),
        (Address("tcp://far:2376", tls=Tls()), ""),
        (Address("tcp://localhost:2375"), ""),
        (Address("ssh://far"), ""),
    ],
)
def test_an_unsafe_way_is_told(address: Address, words: str) -> None:
    assert (words in address.unsafe) if words else address.unsafe == ""


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("unix:///var/run/docker.sock", ""),
        ("tcp://far:2376", ""),
        ("tcp://far:2376/behind/", "/behind"),
        ("ssh://me@far:22/run/docker.sock", ""),
    ],
)
def test_what_stands_before_the_apis_paths(url: str, prefix: str) -> None:
    assert Address(url).prefix == prefix


PROXIES = {
    "default": {"httpProxy": "http://proxy:1", "noProxy": "localhost"},
    "tcp://far:2376": {"httpsProxy": "http://other:2"},
}


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("unix:///sock", {"http_proxy": "http://proxy:1", "no_proxy": "localhost"}),
        ("tcp://far:2376", {"https_proxy": "http://other:2"}),
    ],
)
def test_the_proxies_that_docker_gives_its_containers(
    url: str, found: dict[str, str], tmp_path: Path
) -> None:
    """As `docker run` does, by both spellings."""
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert proxies(environ, url) == {}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": PROXIES}))
    both = {**found, **{name.upper(): value for name, value in found.items()}}
    assert proxies(environ, url) == both


@pytest.mark.parametrize("text", ["", "[]", '{"proxies": 1}', '{"proxies": {"default": []}}'])
def test_a_config_without_proxies(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert proxies({"DOCKER_CONFIG": str(tmp_path)}, "unix:///sock") == {}
