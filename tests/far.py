"""Ways to the engine of the tests that look as those to an engine on another machine."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import docker
import trustme

from bridge import free_subnet
from ports import spare_port
from system import (
    CannotError,
    apt_install,
    end,
    is_root,
    on_debian,
    system_environment,
    system_run,
    system_tool,
    wait_until,
)

if TYPE_CHECKING:
    from typing_extensions import Self

PIECE_BYTES = 256 * 1024


def outer_address(client: docker.DockerClient) -> str:
    """An address of this machine that isn't loopback: its side of the containers' network.

    Raises CannotError.
    """
    pools = client.networks.get("bridge").attrs["IPAM"]["Config"] or [{}]
    if os.uname().sysname != "Linux" or "Gateway" not in pools[0]:
        raise CannotError("the engine's network has no address on this machine")
    return str(pools[0]["Gateway"])


class Certificates:
    """An authority, and what it has signed: for the engine at `host`, and for its client."""

    def __init__(self, folder: Path, host: str) -> None:
        self.authority = trustme.CA()
        self.folder = folder
        """The client's, as DOCKER_CERT_PATH has it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        self._engine = self.authority.issue_cert(host)
        self.write(self.authority.issue_cert("client"), folder)

    def write(self, signed: trustme.LeafCert, folder: Path) -> None:
        """Leave a certificate and its key as Docker names them."""
        folder.mkdir(exist_ok=True)
        (folder / "cert.pem").write_bytes(b"".join(b.bytes() for b in signed.cert_chain_pems))
        signed.private_key_pem.write_to_path(folder / "key.pem")

    def engine_files(self, folder: Path) -> Path:
        """A folder with the engine's own three files."""
        self.write(self._engine, folder)
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        return folder

    def context(self) -> ssl.SSLContext:
        """What the engine's end is made with: it wants a certificate of its client."""
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._engine.configure_cert(made)
        self.authority.configure_trust(made)
        made.verify_mode = ssl.CERT_REQUIRED
        return made


def make_context(folder: Path, name: str, url: str, files: Path | None = None) -> Path:
    """A Docker context as `docker context create` makes it, in a folder for DOCKER_CONFIG; gives
    its file."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"Host": url, "SkipTLSVerify": False}
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    if files is not None:
        shutil.copytree(files, folder / "contexts" / "tls" / key / "docker")
    return meta


class Front:
    """Listens on a port of `host` and passes on to the engine's socket; with TLS, where it is given
    a context. From `__enter__` to `__exit__`."""

    def __init__(self, host: str, path: str, context: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.port = 0
        self.connections = 0
        self._path = path
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="front")

    @property
    def url(self) -> str:
        """Where it listens, as DOCKER_HOST has it."""
        return f"tcp://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def cut(self) -> None:
        """End all connections that there are."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, self.host, 0, ssl=self._context, limit=PIECE_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        ends = [writer]
        try:
            answers, requests = await asyncio.open_unix_connection(self._path, limit=PIECE_BYTES)
            ends.append(requests)
            await asyncio.gather(_pump(reader, requests), _pump(answers, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for each in ends:
                # The first Pythons 3.11 can't abort what TLS has closed already.
                with contextlib.suppress(AttributeError):
                    each.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(PIECE_BYTES):
        target.write(data)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
    else:
        target.close()


class Sshd:
    """An sshd of ours on a port of this machine, whose `docker` reaches the engine at
    `docker_host`; and a program `ssh` that knows it, in the folder `bin`."""

    def __init__(self, folder: Path, docker_host: str) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.port = spare_port()
        self.url = f"ssh://far:{self.port}"
        self._docker_host = docker_host
        self._log: BinaryIO
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Raises CannotError."""
        program = sshd()
        docker_program = shutil.which("docker")
        if docker_program is None:
            raise CannotError("there is no program docker on this machine")
        for name in ("host", "other_host", "client"):
            file = str(self.folder / name)
            system_run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file)
        self.allow()
        self.trust("host")
        Path("/run/sshd").mkdir(exist_ok=True)
        # Nothing of this environment reaches what sshd runs.
        path = Path(docker_program).parent
        lines = (
            f"HostKey {self.folder}/host",
            "ListenAddress 127.0.0.1",
            f"Port {self.port}",
            "PidFile none",
            f"AuthorizedKeysFile {self.folder}/authorized",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            f"SetEnv DOCKER_HOST={self._docker_host} PATH={path}:/usr/bin:/bin",
        )
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        self.configure()
        self.bin.mkdir()
        ours = self.bin / "ssh"
        ours.write_text(f'#!/bin/sh\nexec {system_tool("ssh")} -F {self.folder}/config "$@"\n')
        ours.chmod(0o755)
        self._log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=self._log,
        )
        if not wait_until(self._answers, 10):
            self.stop()
            raise CannotError(f"sshd doesn't start: {(self.folder / 'log').read_text()[-300:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process)
            self._log.close()

    def configure(self, **more: str) -> None:
        """Write the person's ~/.ssh/config; `more` or other options."""
        options = {
            "HostName": "127.0.0.1",
            "User": getpass.getuser(),
            "IdentityFile": f"{self.folder}/client",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f"{self.folder}/known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "ask",
            **more,
        }
        lines = ["Host far", *(f"  {name} {value}" for name, value in options.items())]
        (self.folder / "config").write_text("\n".join(lines) + "\n")

    def trust(self, key: str) -> None:
        """Make this one the key by which the machine is known; "" for none."""
        known = (self.folder / f"{key}.pub").read_text() if key else ""
        line = f"[127.0.0.1]:{self.port} {known}" if key else ""
        (self.folder / "known_hosts").write_text(line)

    def allow(self, options: str = "", key: str = "client") -> None:
        """Let the owner of this key in, with options as in authorized_keys."""
        public = (self.folder / f"{key}.pub").read_text()
        (self.folder / "authorized").write_text(f"{options} {public}".lstrip())

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


def sshd() -> str:
    """The program sshd, installed where that can be. Raises CannotError."""
    if (found := system_tool("sshd")) is not None:
        return found
    if not is_root() or not on_debian():
        raise CannotError("there is no sshd on this machine; install openssh-server")
    if Path("/run/systemd/system").exists():
        raise CannotError("there is no sshd; installing it would open this machine's port 22")
    apt_install("openssh-server")
    return system_tool("sshd") or "sshd"


class FarDockerd:
    """A dockerd on another machine, as far as the network goes: it has one of its own, and speaks
    TLS alone. It has no images. From `__enter__` to `__exit__`; raises CannotError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates: Certificates
        self.host = ""
        self._name = f"dkf{os.getpid()}"
        self._stack = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """Where it listens, as DOCKER_HOST has it."""
        return f"tcp://{self.host}:2376"

    def __enter__(self) -> Self:
        if not is_root() or system_tool("dockerd") is None or system_tool("nsenter") is None:
            raise CannotError("a dockerd with a network of its own needs root, dockerd and nsenter")
        with contextlib.ExitStack() as undo:
            self._plug_in(undo)
            self.certificates = Certificates(self.folder / "client", self.host)
            self._start(undo)
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _plug_in(self, undo: contextlib.ExitStack) -> None:
        subnet = free_subnet()
        ours, self.host = subnet[1], str(subnet[2])
        system_run("ip", "netns", "add", self._name)
        undo.callback(system_run, "ip", "netns", "delete", self._name)
        # The other end goes with the network that it is in.
        ends = (f"{self._name}a", f"{self._name}b")
        system_run(*("ip", "link", "add", ends[0], "type", "veth"), "peer", ends[1])
        undo.callback(_quietly, "ip", "link", "delete", ends[0])
        system_run("ip", "link", "set", ends[1], "netns", self._name)
        system_run("ip", "addr", "add", f"{ours}/30", "dev", ends[0])
        system_run("ip", "link", "set", ends[0], "up")
        system_run("ip", "-n", self._name, "addr", "add", f"{self.host}/30", "dev", ends[1])
        system_run("ip", "-n", self._name, "link", "set", ends[1], "up")

    def _start(self, undo: contextlib.ExitStack) -> None:
        files = self.certificates.engine_files(self.folder / "engine")
        command = [
            *("nsenter", f"--net=/var/run/netns/{self._name}", "dockerd", "--host", self.url),
            *("--tlsverify", f"--tlscacert={files}/ca.pem"),
            *(f"--tlscert={files}/cert.pem", f"--tlskey={files}/key.pem"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
            *("--pidfile", str(self.folder / "pid"), "--data-root", str(self.folder / "data")),
            *("--exec-root", str(self.folder / "exec")),
        ]
        log = undo.enter_context((self.folder / "log").open("wb"))
        process = subprocess.Popen(command, env=system_environment(), stdout=log, stderr=log)
        undo.callback(end, process)

        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection((self.host, 2376), 1):
                return True
            return False

        if not wait_until(lambda: answers() or process.poll() is not None, 30) or not answers():
            words = (self.folder / "log").read_text(errors="replace").strip().splitlines()[-2:]
            raise CannotError(f"dockerd did not start: {' | '.join(words)}")


def _quietly(*command: str) -> None:
    with contextlib.suppress(CannotError):
        system_run(*command)
