"""As whom a container runs, and what that user may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from docker_kernel.backends.workspace import User, choose_user, may

WRITE = os.R_OK | os.W_OK | os.X_OK


def test_a_user_that_is_set_is_taken() -> None:
    assert choose_user("12:34", None).numbers == (12, 34)
    assert str(choose_user("12", None)) == "12"
    assert choose_user("12", None).numbers == (12, 0)
    assert choose_user("ann:staff", None).numbers is None


@pytest.mark.skipif(os.getuid() == 0, reason="this is about callers that aren't root")
def test_else_it_is_the_caller(tmp_path: Path) -> None:
    assert choose_user("", tmp_path).numbers == (os.getuid(), os.getgid())
    assert choose_user("", None).numbers == (os.getuid(), os.getgid())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give folders away")
def test_for_root_it_is_the_folder_s_owner_and_never_root(tmp_path: Path) -> None:
    assert choose_user("", tmp_path).numbers == (1000, 1000)
    assert choose_user("", None).numbers == (1000, 1000)
    os.chown(tmp_path, 4321, 1234)
    assert choose_user("", tmp_path).numbers == (4321, 1234)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give folders away")
@pytest.mark.parametrize(
    ("user", "mode", "expected"),
    [
        (User("4321", "9"), 0o700, True),
        (User("4321", "9"), 0o077, False),
        (User("9", "1234"), 0o070, True),
        (User("9", "1234"), 0o707, False),
        (User("9", "9"), 0o007, True),
        (User("9", "9"), 0o770, False),
        # Without capabilities root is no more than anybody else.
        (User("0", "0"), 0o770, False),
        (User("ann"), 0o000, True),
    ],
)
def test_may_goes_by_the_mode(tmp_path: Path, user: User, mode: int, expected: bool) -> None:
    os.chown(tmp_path, 4321, 1234)
    tmp_path.chmod(mode)
    assert may(user, tmp_path, WRITE) is expected
