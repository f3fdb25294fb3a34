"""One cell on a server, by the project's own client."""

from __future__ import annotations

import ast
from typing import Any

from docker_kernel.client import Client
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel_server.messages import Execute, OpenSession


def run(endpoint: Endpoint, code: str) -> Any:
    """The value of `found`, a literal, after the code has run in a session of the server."""
    client = Client(endpoint, Deadline(10))
    try:
        client.ask(OpenSession(client.new_id(), "test"), 60)
        asked = Execute(client.new_id(), "test", code, user_expressions={"found": "found"})
        done = client.ask(asked, 60)
    finally:
        client.close()
    assert done["status"] == "ok", done
    return ast.literal_eval(done["user_expressions"]["found"]["data"]["text/plain"])
