"""Imports go one way, the server needs nothing, and the Docker SDK has one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docker_kernel.runtime import LENT

PROJECT = Path(__file__).parent.parent
HOST = PROJECT / "docker_kernel"
MAGICS = PROJECT / "magics" / "docker_kernel_magics"
SERVER = PROJECT / "container" / "docker_kernel_server"

# The wire format: the host imports these, and they import nothing but one another.
WIRE = (
    *("message", "messages", "framing", "handshake", "protocol", "errors", "limits", "values"),
    "__version__",
)
# In the server, each may import those to its right, never to its left.
CHAIN = ("__main__", "server", "sessions", "session", "zygote", "worker", "shells")
# The shell that is made of IPython, and what finds out which IPython there is, import it, and what
# comes with it; they are loaded where there is one.
OF_IPYTHON = {"IPython", "traitlets", "comm", "pygments"}
# Imported by who checks types alone.
FOR_TYPES = "typing_extensions.dataclass_transform"
PLAIN_SHELLS = {"docker_kernel_server.shells", "docker_kernel_server.shells.plain"}


def modules(package: Path) -> dict[str, Path]:
    """The modules of a package by dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path) -> Iterator[str]:
    """Each thing a module imports, by its full name, wherever in the file that stands."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def all_imports(package: Path) -> list[tuple[str, str]]:
    """(module, what it imports) over a package."""
    return [(n, target) for n, path in modules(package).items() for target in imports(n, path)]


def inside(target: str, package: str) -> bool:
    return target == package or target.startswith(f"{package}.")


def in_server(name: str) -> str:
    """The part of the server that a name belongs to: server, worker, shells …"""
    parts = name.split(".")
    return parts[1] if parts[0] == "docker_kernel_server" and len(parts) > 1 else ""


def comes_with_ipython(name: str, target: str) -> bool:
    of_ipython = inside(name, "docker_kernel_server.shells") and name not in PLAIN_SHELLS
    allowed = of_ipython or name == "docker_kernel_server.packages"
    return allowed and target.split(".")[0] in OF_IPYTHON


def test_there_is_something_to_look_at() -> None:
    assert "docker_kernel_server.messages" in modules(SERVER)
    assert "docker_kernel.backends.docker" in modules(HOST)


def test_server_needs_the_standard_library_alone() -> None:
    foreign = [
        (name, target)
        for name, target in all_imports(SERVER)
        if target.split(".")[0] not in sys.stdlib_module_names
        and not inside(target, "docker_kernel_server")
        and not comes_with_ipython(name, target)
        and target != FOR_TYPES
    ]
    assert foreign == []


def test_wire_format_stands_alone() -> None:
    wrong = [
        (name, target)
        for name, target in all_imports(SERVER)
        if in_server(name) in WIRE
        and inside(target, "docker_kernel_server")
        and in_server(target) not in WIRE
    ]
    assert wrong == []


def test_server_imports_go_one_way() -> None:
    wrong = [
        (name, target)
        for name, target in all_imports(SERVER)
        if in_server(name) in CHAIN
        and in_server(target) in CHAIN
        and CHAIN.index(in_server(target)) < CHAIN.index(in_server(name))
    ]
    assert wrong == []


def test_host_imports_the_wire_format_and_no_more_of_the_server() -> None:
    wrong = [
        (name, target)
        for name, target in all_imports(HOST)
        if inside(target, "docker_kernel_server") and in_server(target) not in WIRE
    ]
    assert wrong == []


def test_host_leaves_the_magics_alone_but_for_the_extension_hook() -> None:
    wrong = [
        (name, target)
        for name, target in all_imports(HOST)
        if inside(target, "docker_kernel_magics") and name != "docker_kernel"
    ]
    assert wrong == []


def test_magics_know_the_messages_and_the_host_package_alone() -> None:
    wrong = [
        (name, target)
        for name, target in all_imports(MAGICS)
        if inside(target, "docker")
        or (inside(target, "docker_kernel_server") and in_server(target) != "messages")
    ]
    assert wrong == []


def test_docker_sdk_is_imported_by_one_module() -> None:
    doors = {name for name, target in all_imports(HOST) if inside(target, "docker")}
    assert doors == {"docker_kernel.backends.sdk"}


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        # They take 0.1 s, in which an engine could be at work already.
        ("docker_kernel.backends.container", {"docker", "requests", "docker_kernel.client"}),
        # A kernel that is restarted answers before it looks for its container.
        ("docker_kernel.app", {"docker_kernel.client", "docker_kernel.backends.container"}),
    ],
)
def test_what_is_slow_is_imported_when_it_is_needed(module: str, slow: set[str]) -> None:
    code = f"import {module}, sys; print({slow} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b, c", ["a.b", "c"]),
        ("from a import b", ["a.b"]),
        ("from . import b", ["pack.sub.b"]),
        ("from ..x import b", ["pack.x.b"]),
        ("def f():\n    import late", ["late"]),
    ],
)
def test_the_look_sees_every_way_to_import(tmp_path: Path, source: str, found: list[str]) -> None:
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    assert list(imports("pack.sub.module", path)) == found


def test_what_the_host_imports_and_lends_is_a_dependency() -> None:
    requirements = [Requirement(text) for text in metadata.requires("docker-kernel") or []]
    declared = {canonicalize_name(item.name) for item in requirements if item.marker is None}
    both = [*all_imports(HOST), *all_imports(MAGICS)]
    ours = {"docker_kernel", "docker_kernel_server", "docker_kernel_magics"}
    foreign = {target.split(".")[0] for _, target in both} - set(sys.stdlib_module_names) - ours
    called = {"zmq": "pyzmq", "IPython": "ipython", "yaml": "pyyaml"}
    needed = {called.get(name, name) for name in foreign} | {*LENT}
    assert {canonicalize_name(name) for name in needed} <= declared
