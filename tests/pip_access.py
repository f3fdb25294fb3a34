"""What a container needs so that its pip works as this machine's does."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Programs other than pip look here for the certificates that they trust.
BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class PipAccess:
    """Environment variables, and the files and folders they name.

    Each of `mounts` is to be mounted read-only at its own path."""

    env: dict[str, str] = field(default_factory=dict)
    mounts: list[Path] = field(default_factory=list)

    def binds(self) -> list[str]:
        """The mounts as the engine's API and `docker run -v` take them."""
        return [f"{path}:{path}:ro" for path in self.mounts]


def pip_settings() -> dict[str, str]:
    """Pip's settings by name, from its files and, with more weight, its environment variables."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    files: dict[str, str] = {}
    environment: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        (environment if section == ":env:" else files)[key] = str(ast.literal_eval(value))
    return files | environment


def paths_in(value: str) -> list[Path]:
    """The files and folders of this machine that a setting names."""
    words = [unquote(urlsplit(w).path) if w.startswith("file:") else w for w in value.split()]
    return [Path(word) for word in words if word.startswith("/") and Path(word).exists()]


def with_neighbours(key: str, path: Path) -> Path:
    """What to mount for a path: an index in a folder links to packages that lie beside it."""
    return path.parent if key.endswith("INDEX_URL") and path.parent.name else path


def pip_access(environment: Mapping[str, str] = os.environ) -> PipAccess:
    """What pip in a container needs, from pip's settings, proxies and trusted certificates."""
    settings = pip_settings()
    env = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in settings.items()}
    env |= {name: environment[name] for name in BUNDLES if name in environment}
    named = [(key, path) for key, value in env.items() for path in paths_in(value)]
    mounts = {with_neighbours(key, path) for key, path in named}
    env |= {k: v for k, v in environment.items() if k.lower().endswith("_proxy")}
    return PipAccess(env, sorted(mounts))
