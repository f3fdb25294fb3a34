"""X3: the secret of a real kernel's real container, looked for wherever the person's code can look.

The code gets a digest of it, and not the secret: else it would be there for that reason.
"""

from __future__ import annotations

import ast
import hashlib
import json
import secrets
import stat
from pathlib import Path
from typing import Any

import docker
from jupyter_client.kernelspec import KernelSpecManager

from docker_kernel.cli.live import OneKernel
from kernels import Cell, Kernel

SEARCH = r"""
import hashlib, os, re, sys

DIGITS = re.compile(rb"[0-9a-f]{64,}")

def which(data, digests):
    for run in DIGITS.findall(data):
        for at in range(min(len(run), 4096) - 63):
            digest = hashlib.sha256(run[at : at + 64]).hexdigest()
            if digest in digests:
                yield digests.index(digest)

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(5_000_000)
    except (OSError, ValueError):
        return b""

def memory(pid):
    # What a process can write: nothing that was made after its start is elsewhere.
    try:
        with open(f"/proc/{pid}/maps") as file:
            maps = [line.split() for line in file]
        with open(f"/proc/{pid}/mem", "rb", 0) as file:
            for line in maps:
                if line[1].startswith("rw"):
                    start, end = (int(text, 16) for text in line[0].split("-"))
                    for at in range(start, end, 1 << 24):
                        try:
                            file.seek(at)
                            yield file.read(min(1 << 24, end - at))
                        except (OSError, ValueError, OverflowError):
                            pass
    except OSError:
        return

def newer_files(since):
    for folder, folders, names in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys")]
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.path.isfile(path) and os.lstat(path).st_ctime >= since:
                    yield path
            except OSError:
                pass

def places():
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        for name in ("environ", "cmdline", "comm", "status"):
            yield f"{name} of {pid}", read(f"/proc/{pid}/{name}")
        for data in memory(pid):
            yield f"memory of {pid}", data
    for path in newer_files(os.stat("/proc/1").st_ctime - 60):
        yield path, read(path)
    yield "this process", repr((dict(os.environ), sys.argv, sys.flags)).encode()

def search(*digests):
    found, looked = [set() for _ in digests], set()
    for place, data in places():
        if place.startswith("memory"):
            looked.add(place)
        for index in which(data, digests):
            found[index].add(place)
    return [sorted(each) for each in found], len(looked)
"""

PLANT = """
import subprocess
from pathlib import Path
decoy = "".join(DECOY)
Path("/tmp/decoy").write_text(decoy)
child = subprocess.Popen(["sleep", "60"], env={**os.environ, "DECOY": decoy})
print(search(hashlib.sha256(decoy.encode()).hexdigest(), DIGEST))
child.kill(); child.wait(); Path("/tmp/decoy").unlink()
"""

TROUBLE = [
    "%xmode Verbose\n1 / 0",
    "%tb",
    "import faulthandler as f; f.dump_traceback(open('/tmp/t', 'w'), True)\n!cat /tmp/t",
    "import inspect\nfor info in inspect.stack(): print(info.frame.f_locals)",
    "!ps -ef; cat /proc/*/cmdline /proc/*/environ | tr '\\0' ' '",
    "import os; print(os.environ, os.listdir('/'), os.listdir('/tmp'))",
    "%docker status\n%debug",
    "raise SystemError('broken')",
]
"""What shows a lot."""


class Chatty(Kernel):
    """A kernel that logs all that it can, into a file."""

    def make_specs(self, *arguments: str) -> KernelSpecManager:
        """Knows the kernel that is started."""
        specs = OneKernel()
        specs.arguments = ("--debug", *arguments)
        return specs

    def launch(self) -> None:
        """See `Kernel`."""
        Kernel.running += 1
        with (self.folder / "kernel.log").open("wb") as log:
            self.manager.start_kernel(
                cwd=str(self.folder), env={**self._env, "PYTHONFAULTHANDLER": "1"}, stderr=log
            )


def looked(cell: Cell) -> tuple[list[list[str]], int]:
    """Where the search has found each, and into how many processes it could look."""
    assert cell.status == "ok", str(cell)
    found: tuple[list[list[str]], int] = ast.literal_eval(cell.text())
    return found


def host_processes() -> str:
    """What every process of this machine was started with."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                found.append((entry / name).read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(found)


def test_the_secret_is_nowhere(
    image: str, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """X3: in no environment, process list, memory, file, output, traceback or log."""
    # The kernel's own note of it lies in this folder here, and in Jupyter's as a rule.
    arguments = (f"--image={image}", "--no-mount-workspace")
    shown: list[str] = []
    with Chatty(*arguments, folder=tmp_path) as kernel:
        shown.append(str(kernel.run(SEARCH)))
        note: dict[str, Any] = json.loads(kernel.note.read_text())
        secret = note["secret"]
        assert len(secret) == 64
        assert stat.S_IMODE(kernel.note.stat().st_mode) == 0o600

        digest = hashlib.sha256(secret.encode()).hexdigest()
        decoy = list(secrets.token_hex(32))
        (planted, found), readable = looked(
            kernel.run(f"DECOY, DIGEST = {decoy}, {digest!r}{PLANT}")
        )
        # What is there is found: or the search would prove nothing.
        assert {place.split()[0] for place in planted} >= {"/tmp/decoy", "environ", "memory"}
        assert found == []
        # Itself, its keeper, and what it was forked from.
        assert readable >= 3
        shown += [str(kernel.run(code)) for code in TROUBLE]
        shown.append(str(kernel.ask("kernel_info")))
        container = docker_client.containers.get(note["container"])
        shown += [
            str(container.attrs),
            container.logs().decode(),
            str(container.top(ps_args="-ef")),
        ]
        shown += [str(container.diff()), host_processes()]
    log = (tmp_path / "kernel.log").read_text(errors="replace")
    assert "DEBUG" in log or "debug" in log.lower()
    for text in [*shown, log]:
        assert secret not in text
    # And when it has ended the note is gone as well.
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(secret.encode() in file.read_bytes() for file in files)
