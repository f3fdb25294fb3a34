"""Feeds all that reads the wire with bytes, floods a server's port, and writes docs/security.md.

    python tests/fuzzing.py SECONDS

The fuzzers share the seconds. What was found worth keeping goes to tests/fuzz/corpus.txt. It ends
with 1 where something fell; the input that did it is named, and kept in the current folder.
"""

from __future__ import annotations

import base64
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from docker_kernel import __version__
from docker_kernel.client import Client
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel_server.messages import Ping
from floods import crowd, in_a_row, wrong_proofs
from fuzz.seeds import KEPT, MAX_BYTES, seeds
from fuzz.targets import TARGETS, vocabulary
from reliability import between_marks
from system import say, wait_until
from wire import Server

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "security.md"
DEFAULT_SECONDS = 600
SECRET = "the fuzzers' own secret"
LATE_SECONDS = 60
"""What a fuzzer may take beyond its time."""

KEEP = 24
KEEP_BYTES = 160
"""So many inputs of each target are kept for the tests, the longest up to so many bytes."""

WORDS = {
    "lines": "lines, and the messages in them, both directions",
    "strangers": "a server with a secret, before the proof",
    "server": "a server's end of a connection",
    "client": "the host's end, and what becomes of a server's events there",
    "variables": "files of `push` and `pull`",
    "words": "text for a terminal, and for messages of ours",
    "live": "a live server over TCP, with a secret and without",
}


@dataclass
class Fuzzed:
    """What came of a fuzzer."""

    inputs: int
    edges: int
    crashes: int
    log: str


def fuzz(name: str, seconds: float, folder: Path) -> Fuzzed:
    """Let atheris feed a target for so long."""
    corpus = folder / name
    corpus.mkdir()
    for number, data in enumerate(seeds()):
        (corpus / f"seed{number}").write_bytes(data)
    dictionary = folder / f"{name}.dict"
    quoted = ["".join(f"\\x{byte:02x}" for byte in word) for word in vocabulary()]
    dictionary.write_text("".join(f'"{word}"\n' for word in quoted), encoding="ascii")
    command = [sys.executable, "-m", "fuzz.one", name, str(corpus), f"-dict={dictionary}"]
    command += [f"-max_total_time={seconds:.0f}", f"-max_len={MAX_BYTES}", "-timeout=60"]
    command += ["-print_final_stats=1", f"-artifact_prefix={Path.cwd()}/fuzz-{name}-"]
    done = subprocess.run(
        command,
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + LATE_SECONDS,
        check=False,
    )
    log = done.stderr + done.stdout
    inputs = re.findall(r"number_of_executed_units: (\d+)", log) or ["0"]
    edges = [int(count) for count in re.findall(r"cov: (\d+)", log)] or [0]
    return Fuzzed(int(inputs[-1]), max(edges), int(done.returncode != 0), log)


def keep(folder: Path) -> None:
    """Keep some of what was found."""
    kept: list[bytes] = []
    for name in TARGETS:
        found = [file.read_bytes() for file in (folder / name).iterdir() if "seed" not in file.name]
        kept += sorted((data for data in found if len(data) <= KEEP_BYTES), key=len)[-KEEP:]
    lines = sorted({base64.b64encode(data).decode("ascii") for data in kept})
    KEPT.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


@dataclass
class Flooded:
    """How an owner fared meanwhile: his session's answers, and how long a new client takes."""

    words: str
    answers: list[float]
    entered: float


def flood(server: Server, words: str, work: Callable[[], object]) -> Flooded:
    """Let the strangers work, and an owner."""
    endpoint = Endpoint("127.0.0.1", server.port, SECRET.encode(), ours=False)
    client = Client(endpoint, Deadline(60))
    worker = threading.Thread(target=work)
    answers: list[float] = []
    worker.start()
    try:
        began = time.monotonic()
        late = Client(endpoint, Deadline(60))
        entered = time.monotonic() - began
        late.close()
        while worker.is_alive() or len(answers) < 20:
            began = time.monotonic()
            client.ask(Ping(client.new_id()), 60)
            answers.append(time.monotonic() - began)
            time.sleep(0.01)
    finally:
        worker.join()
        client.close()
    return Flooded(words, answers, entered)


def hold(port: int, count: int, seconds: float) -> None:
    """So many strangers at once, for a while; each sends a byte now and then."""
    with crowd(port, count) as sockets:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for sock in sockets:
                try:
                    sock.send(b" ")
                except OSError:
                    continue


def guess(port: int, seconds: float, counts: list[int]) -> None:
    """Four at once guess the secret."""
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(wrong_proofs, port, lambda: time.monotonic() > until) for _ in "1234"]
        counts += [work.result() for work in works]


def floods() -> tuple[str, list[str]]:
    """The floods, one after another: a table, and what is wrong."""
    counts: list[int] = []
    wrong = []
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder), secret=SECRET) as server:
        process = psutil.Process(server.process.pid)
        flood(server, "", lambda: in_a_row(server.port, 1000))  # what is allocated once
        before = process.num_fds(), process.memory_info().rss
        rows = [
            flood(server, "10 000 connections in a row", lambda: in_a_row(server.port, 10_000)),
            flood(
                server,
                "1000 strangers at once, a byte now and then",
                lambda: hold(server.port, 1000, 10),
            ),
            flood(server, "guesses", lambda: guess(server.port, 10, counts)),
        ]
        rows[-1].words = f"{sum(counts)} guesses at the secret in 10 s"
        wait_until(lambda: process.num_fds() <= before[0], 30)
        after = process.num_fds(), process.memory_info().rss
        if server.log():
            wrong.append(f"the server's log: {server.log()}")
    if after[0] > before[0]:
        wrong.append(f"open files: {before[0]} → {after[0]}")
    lines = [
        "| strangers | the owner's answers, ms | the slowest, ms | a new client is in, ms |",
        "|---|---|---|---|",
    ]
    for row in rows:
        times = (statistics.median(row.answers), max(row.answers), row.entered)
        lines.append(f"| {row.words} | {' | '.join(f'{one * 1000:.0f}' for one in times)} |")
    mib = [one / (1 << 20) for one in (before[1], after[1])]
    files = f"{before[0]} → {after[0]} open files"
    lines += ["", f"The server before → after: {files}, {mib[0]:.0f} → {mib[1]:.0f} MiB of memory."]
    return "\n".join(lines), wrong


def main() -> int:
    """Fuzz, flood, write the page."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_SECONDS
    table = ["| what is fed | inputs | edges reached | fell |", "|---|---|---|---|"]
    wrong = []
    with tempfile.TemporaryDirectory(prefix="dk-fuzz-") as name:
        for target in TARGETS:
            found = fuzz(target, seconds / len(TARGETS), Path(name))
            say(f"fuzz: {target}: {found.inputs} inputs, {found.edges} edges, {found.crashes} fell")
            count = f"{found.inputs:,}".replace(",", " ")
            table.append(f"| {WORDS[target]} | {count} | {found.edges} | {found.crashes} |")
            if found.crashes:
                wrong.append(f"{target} fell: {found.log[-4000:]}")
        keep(Path(name))
    flooded, more = floods()
    wrong += more
    head = (
        f"Measured with docker-kernel {__version__} on {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}, in {seconds:.0f} s of fuzzing."
    )
    text = "\n\n".join([head, "\n".join(table), flooded])
    PAGE.write_text(between_marks(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    for complaint in wrong:
        say(f"fuzz: WRONG: {complaint}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
