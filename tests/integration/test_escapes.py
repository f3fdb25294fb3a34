"""What code in a container tries to get out, or to get at what isn't its own: all of it must fail
(E7, X3).

Not here, as they are elsewhere: the server's memory (test_backend_docker.py), a cell that kills the
server (test_kernel.py), the guarded environment of this kernel (test_backend_docker.py).
"""

from __future__ import annotations

import errno
import json
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from cells import run
from docker_kernel.config import Settings
from docker_kernel.endpoint import Endpoint
from docker_kernel.sandbox import Sandbox

FOUND = """
import ctypes, errno, glob, os, socket, stat, struct, subprocess
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def attempt(name, call, *arguments):
    try:
        call(*arguments)
        found[name] = "done"
    except OSError as exc:
        found[name] = errno.errorcode[exc.errno]
def system(name, *arguments):
    number = libc.syscall(name, *arguments) if isinstance(name, int) else getattr(libc, name)(
        *arguments)
    if number == -1:
        raise OSError(ctypes.get_errno(), name)
def write(path, data=b""):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
def read(path):
    with open(path, "rb") as file:
        file.read(1)
"""

REFUSED = {"EPERM", "EACCES", "EROFS", "ENOSYS"}


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """The folder that the container sees, and beside it what it must not see."""
    with tempfile.TemporaryDirectory(prefix="dk-escapes-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        (folder / "secret").write_text(secrets.token_hex(16))
        (folder / "work").mkdir(mode=0o777)
        (folder / "work").chmod(0o777)
        yield folder / "work"


@pytest.fixture(scope="module")
def sandbox(image: str, project: Path) -> Iterator[Sandbox]:
    made = Sandbox(Settings(image=image, workspace=str(project)))
    made.client()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def endpoint(sandbox: Sandbox) -> Endpoint:
    assert sandbox.endpoint is not None
    return sandbox.endpoint


def tried(endpoint: Endpoint, code: str) -> Any:
    """What came of the attempts in this code."""
    return run(endpoint, FOUND + code)


def test_files_of_this_machine(endpoint: Endpoint, project: Path) -> None:
    """E7: by no name of theirs, and by no link."""
    secret = project.parent / "secret"
    link = project / "link"
    link.unlink(missing_ok=True)
    found = tried(
        endpoint,
        f"os.symlink({str(secret)!r}, 'link')\n"
        f"for path in ({str(secret)!r}, 'link', '../secret', '/proc/1/root{secret}',\n"
        f"             '/proc/1/cwd/../secret'):\n"
        "    attempt(path, read, path)\n"
        "fd = os.open('/workspace', os.O_PATH)\n"
        "attempt('above', lambda: os.open('../secret', os.O_RDONLY, dir_fd=fd))\n"
        "for path in ('/etc/shadow', '/proc/kcore', '/dev/mem', '/dev/kmem', '/dev/kmsg'):\n"
        "    attempt(path, read, path)\n"
        "found['same'] = os.stat('/proc/1/root').st_ino == os.stat('/').st_ino\n",
    )
    assert found.pop("same")  # what may look like this machine's is the container's own
    assert set(found.values()) <= {"ENOENT", "EACCES", "EPERM"}, found


def test_disks_and_mounts(endpoint: Endpoint) -> None:
    """E7: no device, no mount, and none of the folders that were lent can be written."""
    found = tried(
        endpoint,
        "disks = [path for path in glob.glob('/dev/[!f]**', recursive=True)\n"
        "         if stat.S_ISBLK(os.lstat(path).st_mode)]\n"
        "found['disks'] = 'done' if disks else 'EPERM'\n"
        "attempt('block', os.mknod, '/tmp/disk', stat.S_IFBLK | 0o666, os.makedev(8, 0))\n"
        "attempt('memory', os.mknod, '/tmp/mem', stat.S_IFCHR | 0o666, os.makedev(1, 1))\n"
        "attempt('tmpfs', system, 'mount', b'none', b'/mnt', b'tmpfs', 0, None)\n"
        "attempt('proc', system, 'mount', b'proc', b'/mnt', b'proc', 0, None)\n"
        "attempt('cgroup', system, 'mount', b'c', b'/mnt', b'cgroup', 0, b'memory')\n"
        "attempt('writable', system, 'mount', None, b'/opt/docker-kernel', None, 0x1020, None)\n"
        "attempt('uncovered', system, 'umount2', b'/proc/kcore', 2)\n"
        "attempt('chroot', os.chroot, '/tmp')\n"
        "lent = '/opt/docker-kernel/docker_kernel_server/server.py'\n"
        "attempt('lent', write, lent)\n"
        "attempt('lent library', open, '/opt/docker-kernel/lib/new.py', 'w')\n"
        "attempt('lent gone', os.remove, lent)\n"
        "attempt('lent mode', os.chmod, lent, 0o777)\n",
    )
    assert set(found.values()) <= REFUSED, found


def test_settings_of_the_machine(endpoint: Endpoint) -> None:
    """E7: what /proc, /sys and the cgroup would let root change, and write as a way out."""
    found = tried(
        endpoint,
        "paths = ['/proc/sys/kernel/core_pattern', '/proc/sys/kernel/hostname',\n"
        "         '/proc/sys/vm/overcommit_memory', '/proc/sysrq-trigger', '/proc/irq',\n"
        "         '/sys/kernel/uevent_helper', '/sys/power/state']\n"
        "for folder, _, names in os.walk('/sys/fs/cgroup'):\n"
        "    paths += [os.path.join(folder, name) for name in names]\n"
        "for path in paths:\n"
        "    attempt(path, write, path)\n"
        "attempt('cgroup', os.mkdir, '/sys/fs/cgroup/mine')\n"
        "attempt('rather nobody', write, '/proc/1/oom_score_adj', b'-1000')\n"
        "attempt('users', write, '/proc/self/uid_map', b'0 0 1')\n",
    )
    assert len(found) > 20
    done = {name: came for name, came in found.items() if came not in REFUSED}
    assert set(done.values()) <= {"ENOENT", "EISDIR"}, done


def test_calls_of_the_system(endpoint: Endpoint) -> None:
    """E7: namespaces, kernel modules, keys, BPF, performance counters, the clock."""
    found = tried(
        endpoint,
        "numbers = {'x86_64': (250, 248, 321, 298, 246, 175, 155, 304, 308, 310, 317),\n"
        "           'aarch64': (219, 217, 280, 241, 104, 105, 41, 265, 268, 270, 277)}\n"
        "names = ('keyctl', 'add_key', 'bpf', 'perf_event_open', 'kexec_load', 'init_module',\n"
        "         'pivot_root', 'open_by_handle_at')\n"
        "for name, number in zip(names, numbers.get(os.uname().machine, ())):\n"
        "    attempt(name, system, number, 0, 0, 0, 0, 0)\n"
        "for flag, name in ((0x10000000, 'user'), (0x20000, 'mount'), (0x40000000, 'network'),\n"
        "                   (0x20000000, 'pid'), (0x2000000, 'cgroup')):\n"
        "    attempt(f'namespace: {name}', system, 'unshare', flag)\n"
        "space = os.open('/proc/1/ns/mnt', os.O_RDONLY)\n"
        "attempt('setns', system, 'setns', space, 0)\n"
        "import time\n"
        "attempt('clock', time.clock_settime, time.CLOCK_REALTIME, time.time())\n"
        "attempt('host name', socket.sethostname, 'mine')\n"
        "attempt('reboot', system, 'reboot', 0)  # switches Ctrl-Alt-Del off\n"
        "attempt('swap', system, 'swapoff', b'/none')\n"
        "attempt('accounting', system, 'acct', None)\n"
        "attempt('log of the kernel', system, 'klogctl', 3, ctypes.create_string_buffer(9), 9)\n"
        "attempt('first', os.setpriority, os.PRIO_PROCESS, 0, -20)\n"
        "attempt('root', os.setuid, 0)\n"
        "attempt('owner', os.chown, '/workspace', 0, 0)\n"
        "attempt('raw', socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)\n"
        "attempt('packets', socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 3)\n"
        "attempt('port', lambda: socket.create_server(('0.0.0.0', 22)))\n"
        "del found['port']  # newer engines give the low ports of its own network to all\n",
    )
    assert len(found) > 15
    assert set(found.values()) <= REFUSED, found


def test_nothing_gains_rights(endpoint: Endpoint) -> None:
    """E7: no capability, not even for a program that is root's own (setuid)."""
    found = tried(
        endpoint,
        "status = dict(line.rstrip().split(':\\t', 1) for line in open('/proc/self/status')\n"
        "              if ':\\t' in line)\n"
        "for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):\n"
        "    found[name] = int(status[name], 16)\n"
        "found['no new'], found['seccomp'] = status['NoNewPrivs'], status['Seccomp']\n"
        "found['root'] = 0 in (os.getuid(), os.geteuid(), *os.getgroups())\n"
        "made = [path for path in ('/bin/mount', '/usr/bin/mount', '/bin/su')\n"
        "        if os.path.exists(path) and os.stat(path).st_mode & stat.S_ISUID]\n"
        "found['setuid'] = bool(made)\n"
        "ran = subprocess.run(['/bin/mount', '-t', 'tmpfs', 'none', '/mnt'],\n"
        "                     capture_output=True)\n"
        "found['mounted'] = ran.returncode == 0 or os.path.ismount('/mnt')\n",
    )
    assert found.pop("setuid"), "the image has no program to try it with"
    assert not any(found.pop(name) for name in list(found) if name.startswith("Cap"))
    assert found == {"no new": "1", "seccomp": "2", "root": False, "mounted": False}


def test_the_server_and_what_starts_it(endpoint: Endpoint) -> None:
    """X3: as another process of the same user, too; the secret is in its memory alone."""
    found = tried(
        endpoint,
        "servers = [int(path.split('/')[2]) for path in glob.glob('/proc/[0-9]*/cmdline')\n"
        "           if b'--secret-from-stdin' in open(path, 'rb').read()]\n"
        "pid = max(servers)  # the first is docker-init, which got the same words\n"
        "attempt('attach', system, 'ptrace', 16, pid, 0, 0)\n"
        "attempt('seize', system, 'ptrace', 0x4206, pid, 0, 0)\n"
        "buffer = ctypes.create_string_buffer(8)\n"
        "piece = struct.pack('PP', ctypes.addressof(buffer), 8)\n"
        "attempt('peek', system, 'process_vm_readv', pid, piece, 1, piece, 1, 0)\n"
        "attempt('poke', system, 'process_vm_writev', pid, piece, 1, piece, 1, 0)\n"
        "for name in ('mem', 'environ', 'maps', 'auxv', 'syscall', 'stack', 'fd/0', 'cwd/x'):\n"
        "    attempt(name, read, f'/proc/{pid}/{name}')\n"
        "attempt('fd', os.listdir, f'/proc/{pid}/fd')\n",
    )
    assert len(found) == 13
    assert set(found.values()) <= REFUSED, found


def test_the_secret_is_nowhere(sandbox: Sandbox, endpoint: Endpoint) -> None:
    """X3: in no environment, no list of processes, no descriptor, no file and no variable."""
    found = run(
        endpoint,
        "import glob, os\n"
        "found = []\n"
        "for pattern in ('/proc/[0-9]*/cmdline', '/proc/[0-9]*/environ', '/tmp/**', '/run/**',\n"
        "                '/workspace/**', '/opt/docker-kernel/*', '/etc/*'):\n"
        "    for path in glob.glob(pattern, recursive=True):\n"
        "        try:\n"
        "            found.append(open(path, 'rb').read(1 << 20).hex())\n"
        "        except OSError:\n"
        "            pass\n"
        "fd = os.open('/proc/1/fd/0', os.O_RDONLY | os.O_NONBLOCK)\n"
        "found.append(os.read(fd, 1000).hex())\n"
        "found.append(repr(sorted(os.environ.items())).encode().hex())\n",
    )
    note = sandbox.handover()
    assert note is not None
    assert len(found) > 10
    assert note["secret"].encode().hex() not in "".join(found)


def test_the_socket_of_the_engine(endpoint: Endpoint) -> None:
    """E7: neither as a file, nor by a name without one."""
    found = tried(
        endpoint,
        "names = [line.split()[-1] for line in open('/proc/net/unix')][1:]\n"
        "found['names'] = [n for n in names if 'docker' in n or 'containerd' in n]\n"
        "found['files'] = [path for folder in ('/run', '/var/run', '/tmp', '/workspace')\n"
        "                  for path in glob.glob(folder + '/**/*.sock', recursive=True)]\n",
    )
    assert found == {"names": [], "files": []}


# -- over the network


CONNECT = """
def connect(address, port):
    with socket.create_connection((address, port), timeout=5) as there:
        there.sendall(b'{"type": "status", "id": "1"}\\n')
        said = b""
        while data := there.recv(4096):
            said += data
        found["said"] = said.decode()
with open("/proc/net/route") as routes:
    gateways = [line.split()[2] for line in routes if line.split()[1] == "00000000"]
gateway = socket.inet_ntoa(struct.pack("=L", int(gateways[0], 16))) if gateways else ""
"""


@pytest.fixture(scope="module")
def another(image: str) -> Iterator[Sandbox]:
    """Somebody's own kernel, in a container without a network of its own."""
    made = Sandbox(Settings(image=image, mount_workspace=False, network="none"))
    yield made
    made.stop()


def test_another_containers_session(
    endpoint: Endpoint, image: str, docker_client: docker.DockerClient
) -> None:
    """E7, P6: the port of a server can be reached in its network, and does nothing for strangers;
    its processes can't even be seen."""
    with ExitStack() as stack:
        other = Sandbox(Settings(image=image, mount_workspace=False))
        stack.callback(other.stop)
        other.client()
        note = other.handover()
        assert note is not None
        assert other.endpoint is not None
        run(other.endpoint, "kept = 42; found = 1")
        about = docker_client.api.inspect_container(note["container"])
        networks = about["NetworkSettings"]["Networks"]
        (address,) = [each["IPAddress"] for each in networks.values()]
        found = tried(endpoint, f"{CONNECT}attempt('other', connect, {address!r}, 8000)\n")
        if "said" in found:  # an engine may keep its containers apart (icc=false)
            final = json.loads(found["said"])
            assert (final["status"], final["reason"]) == (126, "refused")
            assert "this server has a secret" in final["result"]
        assert run(other.endpoint, "found = kept") == 42
        assert run(endpoint, "import glob; found = len(glob.glob('/proc/[0-9]*'))") < 20


def test_services_of_this_machines_own(endpoint: Endpoint, another: Sandbox) -> None:
    """E7: one that listens on loopback is out of reach, with the network and without."""
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        service.settimeout(0.01)
        with_network = tried(
            endpoint,
            f"{CONNECT}attempt('own', connect, '127.0.0.1', {port})\n"
            f"attempt('gateway', connect, gateway, {port})\n",
        )
        another.client()
        assert another.endpoint is not None
        without = tried(
            another.endpoint,
            f"{CONNECT}attempt('own', connect, '127.0.0.1', {port})\n"
            f"attempt('bridge', connect, '172.17.0.1', {port})\n"
            "attempt('world', connect, '8.8.8.8', 53)\n",
        )
        with pytest.raises(TimeoutError):
            service.accept()
    assert with_network["own"] == "ECONNREFUSED"
    assert with_network["gateway"] in ("ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH")
    assert without == {"own": "ECONNREFUSED", "bridge": "ENETUNREACH", "world": "ENETUNREACH"}


def test_this_port_of_ours_is_no_other_machines(endpoint: Endpoint) -> None:
    """P7: it is published on loopback alone."""
    names = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for name in names - {"127.0.0.1", "127.0.1.1", "::1"}:
        family = socket.AF_INET6 if ":" in str(name) else socket.AF_INET
        with socket.socket(family) as stream:
            stream.settimeout(5)
            assert stream.connect_ex((str(name), endpoint.port)) == errno.ECONNREFUSED
