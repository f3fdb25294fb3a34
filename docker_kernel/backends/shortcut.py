"""To a container's own address, where this machine is on the container's network.

What comes to a published port goes through a process of the engine's, which takes longer than all
else on the way. But an address on a bridge says little: a rootless engine, or one in a virtual
machine, has bridges that this machine can't see, with addresses that may be another container's
here. So the server must prove itself there before that way is taken, and the published port stays
the one that is taken where it fails.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from docker_kernel_server.errors import ProtocolError
from docker_kernel_server.protocol import ClientSide

from ..deadline import Deadline
from ..endpoint import Endpoint
from ..errors import DockerKernelError
from ..sockets import TcpStream
from ..transport import dial

SECONDS = 0.2
"""How long the container's own address may take to answer; an idle machine takes a millisecond."""


def shortened(endpoint: Endpoint, networks: Mapping[str, Any], port: int) -> Endpoint:
    """The endpoint of a published port, to be reached by the container's address if that works.

    ``networks`` is what the engine says of them, ``port`` the server's port in the container.
    """
    for network in networks.values():
        address, gateway = network.get("IPAddress"), network.get("Gateway")
        if address and gateway and _is_ours(gateway) and _proves(address, port, endpoint.secret):
            return replace(endpoint, dial=partial(_dial, address, port, endpoint))
    return endpoint


def _is_ours(address: str) -> bool:
    """Whether it is an address of this machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _proves(address: str, port: int, secret: bytes | None) -> bool:
    """Whether the server there knows the secret. It hears nothing by which it could learn it."""
    deadline = Deadline(SECONDS)
    failures = (OSError, DockerKernelError, ProtocolError)
    with suppress(*failures), closing(dial(address, port, SECONDS)) as stream:
        protocol = ClientSide(secret)
        stream.send(protocol.hello())
        # For the whole of it: a stranger may send a byte now and then.
        while protocol.server is None and not deadline.expired:
            stream.set_timeout(max(0.01, deadline.remaining()))
            data = stream.receive()
            if not data:
                break
            list(protocol.receive(data))
        return protocol.server is not None
    return False


def _dial(address: str, port: int, published: Endpoint, seconds: float) -> TcpStream:
    with suppress(OSError, DockerKernelError):
        return dial(address, port, min(seconds, SECONDS))
    return dial(published.host, published.port, seconds)
