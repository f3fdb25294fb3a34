"""The last of the tests on containers: it looks at what was begun before the first."""

from __future__ import annotations

from concurrent.futures import Future

from docker_kernel_server import messages as wire


def test_c2_a_job_that_is_silent_for_long(silent: Future[wire.Final]) -> None:
    """C2"""
    assert silent.result().reason == "ok"
