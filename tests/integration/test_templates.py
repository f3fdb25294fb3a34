"""A kernel starts with each of the files that `config --template` prints (E12)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from docker_kernel import commands
from docker_kernel.cli.templates import TEMPLATES, template
from docker_kernel.launcher import Launcher
from kernels import PATIENCE


@pytest.mark.parametrize("kind", list(TEMPLATES))
def test_a_kernel_starts_with_a_template(
    kind: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "docker_kernel_config.py").write_text(template(kind))
    work = tmp_path / "work"
    work.mkdir(mode=0o777)
    work.chmod(0o777)
    launcher = Launcher([f"--image={image}", f"--workspace={work}", "-f", "kernel-1.json"])
    try:
        launcher.opening.result(PATIENCE)
        assert launcher.session is not None
        sandbox = launcher.session.sandbox
        described = sandbox.describe()
        assert f"network {TEMPLATES[kind][1]['network'][0]}" in described
        with closing(sandbox.connection()) as client:
            command = "echo done > result; touch /tmp/x && (touch /opt/x || echo read-only)"
            done = commands.run(client, commands.Command(command, timeout=PATIENCE))
        assert done.stderr.count("Read-only file system") == (kind == "production")
        assert (work / "result").read_text() == "done\n"
        assert sandbox.notices == []
    finally:
        launcher.stop()
