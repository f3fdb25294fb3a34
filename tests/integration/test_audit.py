"""The audit log and verification with a real container (X2, V1)."""

from __future__ import annotations

import json
from pathlib import Path

import docker
import pytest
from traitlets.config import Config

from docker_kernel.config import Settings
from docker_kernel.errors import CodeRefused
from docker_kernel.sandbox import Sandbox
from docker_kernel.session import Session
from docker_kernel_server.messages import Execute


@pytest.mark.parametrize("network", ["bridge", "none"])
def test_the_container_is_named(
    image: str, tmp_path: Path, docker_client: docker.DockerClient, network: str
) -> None:
    """X2, V1"""
    work, log = tmp_path / "work", tmp_path / "audit.log"
    work.mkdir()
    given = {
        "image": image,
        "network": network,
        "workspace": str(work),
        "audit_log": str(log),
        "blocked_functions": ["eval"],
    }
    sandbox = Sandbox(Settings.load(None, Config({"Settings": given})))
    try:
        client = Session(sandbox, "s").client()
        with pytest.raises(CodeRefused):
            client.request(Execute("refused", "s", "eval('1')"))
        assert client.request(Execute("run", "s", "1 + 1")).result(30).reason == "ok"
        (name,) = {row["container"] for row in map(json.loads, log.read_text().splitlines())}
        assert docker_client.containers.get(name).status == "running"
    finally:
        sandbox.stop()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(row["id"], row["event"]) for row in events if row["kind"] == "cell"] == [
        ("refused", "refused"),
        ("run", "sent"),
        ("run", "ended"),
    ]
