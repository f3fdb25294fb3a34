"""X1: status answers while every session is busy."""

from __future__ import annotations

from pathlib import Path

import crowd
from docker_kernel.endpoint import Endpoint
from docker_kernel_server.messages import Status
from wire import Server


def test_status_answers_while_every_session_is_busy(tmp_path: Path) -> None:
    """X1: each of ten runs a loop in C that lets nobody else of its process run."""
    with Server(tmp_path) as server:
        endpoint = Endpoint("127.0.0.1", server.port, None)
        with crowd.connected(endpoint) as client:
            crowd.make_busy(client, crowd.open_sessions(client, 10))
            with crowd.connected(endpoint) as other:
                for asker in (client, other):
                    about = asker.ask(Status(asker.new_id()), crowd.PATIENCE)
                    assert [line["busy"] for line in about["sessions"]] == [True] * 10
                    assert all(line["pid"] for line in about["sessions"])
