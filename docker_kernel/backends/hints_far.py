"""Why an engine on another machine can't be reached, and what to do about it."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import EngineDenied, EngineError, EngineNotFound, EngineNotRunning

_BY_HAND = "see how far this comes in a terminal"


def ssh(url: str, named: str, words: str, another: str) -> EngineError:
    """The error for the last words of an ssh to the engine at `url`; `another` is how to choose
    another engine."""
    parts = urlsplit(url)
    port = f"-p {parts.port} " if parts.port else ""
    user = f"{parts.username}@" if parts.username else ""
    there = f"{port}{user}{parts.hostname}"
    lower = words.lower()
    kind: type[EngineError] = EngineNotRunning
    what = f"no Docker engine answers at {url}"
    if "no program ssh" in lower:
        kind, remedy = EngineNotFound, "install it: sudo apt install openssh-client"
    elif "identification has changed" in lower:
        kind, what = EngineDenied, f"the machine at {url} is not the one that it was"
        remedy = (
            "where you know why its key is a new one, forget the old one: "
            f"ssh-keygen -R {_known_as(url)}; else somebody is in between"
        )
    elif "host key verification failed" in lower:
        kind, what = EngineDenied, f"ssh doesn't know the machine at {url}"
        remedy = f"compare its key and accept it, once, in a terminal: ssh {there}"
    elif "permission denied while trying to connect" in lower or "dial unix" in lower:
        kind = EngineDenied if "permission denied" in lower else EngineNotRunning
        what = f"ssh gets to the machine at {url}, and not to its Docker engine"
        remedy = (
            f"see what is wrong over there: ssh {there} docker info (its user must be in the group "
            "docker, or set DOCKER_HOST there for a rootless engine)"
        )
    elif "permission denied" in lower or "authentication failures" in lower:
        kind, what = EngineDenied, f"the machine at {url} doesn't let you in"
        remedy = (
            "a key is needed, as nobody can be asked for a password here: ssh-copy-id "
            f"{there}; for one with a passphrase: ssh-add; {_BY_HAND}: ssh -o BatchMode=yes {there}"
        )
    elif "not found" in lower or "no such file" in lower:
        kind, what = EngineNotFound, f"there is no program docker on the machine at {url}"
        remedy = (
            "install it over there (Debian, Ubuntu: sudo apt install docker.io), and see that this "
            f"finds it: ssh {there} docker version"
        )
    elif "resolve hostname" in lower:
        kind, remedy = EngineNotFound, f"correct the name, or {another}; {_BY_HAND}: ssh {there}"
    else:
        remedy = f"{_BY_HAND}: ssh {there} docker info; or {another}"
    return kind(what, f"{named} names it; {words}", remedy)


def tls(url: str, named: str, words: str) -> EngineError:
    """The error for what went wrong in TLS with the engine at `url`."""
    remedy = "see that ca.pem, cert.pem and key.pem are those of this engine"
    where = (
        "they are in the folder DOCKER_CERT_PATH, or in ~/.docker"
        if named == "DOCKER_HOST"
        else "give the context the right ones: docker context update --help"
    )
    if "version number" in words or "record layer" in words:
        # What came was no TLS at all.
        remedy = (
            "the engine speaks no TLS on this port: name the other one (usually 2376); or unset "
            "DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, where you trust the network in between"
        )
    elif "hostname" in words or "ip address" in words:
        remedy = (
            "the certificate is for another name: use that in the address, or make one for this"
        )
    else:
        if "alert" in words or "required" in words:
            remedy = (
                "the engine wants a certificate of yours, cert.pem and key.pem, that its authority "
                "has signed"
            )
        remedy = f"{remedy}; {where}"
    return EngineDenied(
        f"the Docker engine at {url} and this side don't trust each other",
        f"{named} names it; {words}",
        remedy,
    )


def wants_tls(url: str, named: str, why: str) -> EngineError:
    """The error for an engine that speaks TLS, where this side doesn't."""
    return EngineDenied(
        f"the Docker engine at {url} wants TLS",
        f"{named} names it; {why}",
        "set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to a folder with ca.pem, cert.pem and "
        "key.pem; for a context: docker context update --help",
    )


def tcp(url: str, named: str, words: str, another: str) -> EngineError:
    """The error for an engine at a tcp:// address that isn't reached."""
    parts = urlsplit(url)
    if "hung up" in words:
        return EngineNotRunning(
            f"what listens at {url} does not answer as an engine",
            f"{named} names it; {words}",
            "an engine with TLS does so with who speaks none, or has no certificate: set "
            "DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder with ca.pem, cert.pem and "
            f"key.pem; or {another}",
        )
    return EngineNotRunning(
        f"no Docker engine answers at {url}",
        f"{named} names it; {words}",
        f"see that it listens there, and that no firewall is in between: curl -v "
        f"telnet://{parts.hostname}:{parts.port}; or {another}; safer than a port, and with "
        f"nothing to set up over there: ssh://USER@{parts.hostname}",
    )


def _known_as(url: str) -> str:
    """By which name ssh knows a machine."""
    parts = urlsplit(url)
    return f"'[{parts.hostname}]:{parts.port}'" if parts.port else str(parts.hostname)
