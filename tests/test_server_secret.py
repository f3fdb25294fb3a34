"""A server's secret from a file, as a container orchestrator brings it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wire import Server, Wire

SECRET = "a secret of the tests"


def test_the_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """X3: it stands neither on the command line nor in the environment."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\nno more\n")
    with Server(tmp_path, args=["--secret-file", str(file)]) as server:
        with Wire(server.port, SECRET) as client:
            assert SECRET not in client.run("tr '\\0' ' ' < /proc/$PPID/cmdline; env").text()
        with pytest.raises(AssertionError):
            Wire(server.port, "another secret of theirs")


@pytest.mark.parametrize(
    ("text", "args", "words"),
    [
        (None, [], "No such file.*openssl rand"),
        ("\n", [], "openssl rand"),
        (SECRET, ["--secret-from-stdin"], "not allowed with"),
    ],
)
def test_a_secret_file_that_is_no_good(
    tmp_path: Path, text: str | None, args: list[str], words: str
) -> None:
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text)
    server = Server(tmp_path, args=["--secret-file", str(file), *args])
    with pytest.raises(AssertionError, match=words):
        server.__enter__()
    assert server.process.returncode == 2
