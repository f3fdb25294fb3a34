"""The start of a kernel's sandbox, without a kernel."""

from __future__ import annotations

import pytest

from docker_kernel.errors import SettingError
from docker_kernel.launch import Launcher


def test_a_new_start_shows_nothing_of_the_last_one() -> None:
    launcher = Launcher(["--memory=lots"])
    with pytest.raises(SettingError):
        launcher.opening.result(60)
    launcher.progress = "pulling the image: 3 of 5 layers"
    again = launcher.open()
    assert launcher.progress == ""
    with pytest.raises(SettingError):
        again.result(60)
    launcher.stop()
