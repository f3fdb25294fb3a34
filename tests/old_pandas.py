"""A Python with an old numpy and pandas, kept in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from platformdirs import user_cache_path

from system import CannotError, say

PACKAGES = ("numpy==1.21.6", "pandas==1.3.5")
"""The last but one family of pandas that runs on Python 3.8: times in nanoseconds alone, text as
objects, time zones of pytz, other names of frequencies."""


def old_pandas(pythons: dict[str, str]) -> Path:
    """The program of that Python. Raises CannotError where there is none and it can't be made."""
    folder = user_cache_path("docker-kernel-test") / "-".join(PACKAGES)
    program = folder / "bin" / "python"
    if program.exists():
        return program
    if "3.8" not in pythons:
        raise CannotError("there is no Python 3.8 on this machine")
    say(f"installing {' and '.join(PACKAGES)} (takes half a minute, once)")
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        subprocess.run([pythons["3.8"], "-m", "venv", str(making)], check=True, timeout=120)
        pip = [str(making / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES]
        done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["pip failed"]
            raise CannotError(f"{' and '.join(PACKAGES)} can't be installed: {words[-1]}")
        # Its scripts name the folder where it was made; the interpreter finds itself anywhere.
        making.replace(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return program
