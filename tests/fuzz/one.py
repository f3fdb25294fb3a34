"""One target under atheris: `python -m fuzz.one TARGET [libFuzzer's options]`, in tests/."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["docker_kernel_server", "docker_kernel"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Feed the target until the time is over, or it raises."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
