"""Images for the tests and the demo, made from Debian's packages without an image registry.

    python tests/images.py base | old | ipython | nopython | notebook | ipykernel

`base` has the Python version that runs this script, `old` has 3.9, `ipython` has an IPython of its
own, `nopython` has a shell and no Python; `notebook` and `ipykernel` are `base` with libraries from
PyPI. Prints the image's name. The file systems are kept as tar files in the user's cache folder, so
that a second run takes seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound
from platformdirs import user_cache_path

from engine import using
from pip_access import pip_access
from system import (
    CannotError,
    apt_install,
    is_root,
    on_debian,
    say,
    system_environment,
    system_tool,
)

if sys.platform != "win32":
    import fcntl

KINDS = ("base", "old", "ipython", "nopython")
LIBRARIES = ("matplotlib", "nest_asyncio", "pandas", "rich", "tqdm")
# The others that ipywidgets asks for come with IPython, which is lent to the image.
WIDGETS = ("ipywidgets>=8,<9", "jupyterlab_widgets", "widgetsnbextension")
PIP_INSTALL = "python3 -m pip install --quiet --no-compile --root-user-action=ignore"
INSTALL = f"""
export PIP_BREAK_SYSTEM_PACKAGES=1
{PIP_INSTALL} --no-deps {shlex.join(WIDGETS)}
{PIP_INSTALL} {shlex.join(LIBRARIES)}
"""
DEBIAN_WITH = {(3, 9): "bullseye", (3, 11): "bookworm", (3, 13): "trixie"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Each script runs in an empty folder and leaves the image's file system in ./root.
STRIP = """
rm -rf root/var/cache/apt/* root/var/lib/apt/lists/* root/var/cache/debconf/* root/var/log/*
rm -rf root/usr/share/doc/* root/usr/share/man/* root/usr/share/info/* root/usr/share/locale/*
rm -rf root/usr/share/lintian root/dev/* root/proc/* root/sys/* root/etc/hostname
"""

BUSYBOX = """
apt-get -q download busybox-static || { apt-get -q update; apt-get -q download busybox-static; }
dpkg-deb -x busybox-static*.deb package
mkdir -p root/bin root/etc root/root root/tmp
chmod 1777 root/tmp
find package -path '*bin/busybox' -type f -exec cp {} root/bin/ \\;
chroot root /bin/busybox --install -s /bin
echo 'root:x:0:0:root:/root:/bin/sh' > root/etc/passwd
"""

# A Python that no Debian release has is copied from this machine, with the libraries it needs.
COPY = """
mkdir -p root/usr/local/bin root/usr/local/lib
cp -a PREFIX/bin/pythonX.Y root/usr/local/bin/
ln -s pythonX.Y root/usr/local/bin/python3
cp -a PREFIX/lib/pythonX.Y root/usr/local/lib/
cp -a PREFIX/lib/libpython* root/usr/local/lib/ 2>/dev/null || true
home=root/usr/local/lib/pythonX.Y
rm -rf $home/site-packages/* $home/test $home/idlelib $home/tkinter $home/turtledemo $home/config-*
rm -f $home/lib-dynload/_tkinter* $home/EXTERNALLY-MANAGED
find $home -name __pycache__ -prune -exec rm -rf {} +
ldd PREFIX/bin/pythonX.Y $home/lib-dynload/*.so | sed -n 's,.* => \\(/[^ ]*\\) .*,\\1,p' | sort -u |
while read -r library; do
    if [ -z "$(find root/usr/lib root/usr/local/lib -name "${library##*/}")" ]; then
        cp -L "$library" root/usr/local/lib/
    fi
done
chroot root /sbin/ldconfig
chroot root /usr/local/bin/python3 -m ensurepip --default-pip
chroot root /usr/local/bin/python3 -c 'import ctypes, ssl, sqlite3, zlib'
"""


@dataclass(frozen=True)
class Recipe:
    """How an image is made: a shell script, and the command that a container of it runs."""

    name: str
    script: str
    command: str

    @property
    def tag(self) -> str:
        """Changes when the recipe does."""
        return hashlib.sha256(f"{self.script}\0{self.command}".encode()).hexdigest()[:12]


def debootstrap(suite: str, *packages: str) -> str:
    """The script that makes a small Debian with these packages."""
    include = f"--include={','.join(packages)} " if packages else ""
    return f"debootstrap --variant=minbase {include}{suite} root\n"


def recipe(kind: str, python: tuple[int, int] | None = None) -> Recipe:
    """The recipe of one kind; `base` is for that Python version, by default this one."""
    pythons = ("python3", "python3-pip", "python3-venv")
    if kind == "old":
        return Recipe("old", debootstrap("bullseye", *pythons) + STRIP, "python3")
    if kind == "ipython":
        return Recipe("ipython", debootstrap("bookworm", "ipython3") + STRIP, "python3")
    if kind == "nopython":
        return Recipe("nopython", BUSYBOX, "sh")
    version = python or sys.version_info[:2]
    name = f"base-{version[0]}.{version[1]}"
    if suite := DEBIAN_WITH.get(version):
        return Recipe(name, debootstrap(suite, *pythons) + STRIP, "python3")
    copy = COPY.replace("PREFIX", shlex.quote(sys.base_prefix))
    copy = copy.replace("X.Y", f"{version[0]}.{version[1]}")
    note = f"# {sys.version.splitlines()[0]}\n"
    return Recipe(name, note + debootstrap(suite_to_copy_to()) + copy + STRIP, "python3")


def suite_to_copy_to() -> str:
    """A Debian whose C library is no older than this machine's, or its Python would not start."""
    library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    version = tuple(int(part) for part in library.removeprefix("glibc ").split(".") if part)
    return "bookworm" if version <= (2, 36) else "trixie"


def cannot_make(made: Recipe) -> str | None:
    """None where this machine can make the image, else the reason in one line."""
    if on_debian() and is_root():
        return None
    return f"the test image {made.name} is made with debootstrap, as root on Debian or Ubuntu"


def image(kind: str, client: docker.DockerClient) -> str:
    """The name of an image of that kind, made first where the engine lacks it.

    Raises CannotError."""
    made = recipe(kind)
    name = f"docker-kernel-test/{kind}:{made.tag}"
    try:
        client.images.get(name)
    except ImageNotFound:
        import_image(client, name, file_system(made), made.command)
    return name


def notebook_image(client: docker.DockerClient) -> str:
    """The name of an image with what people use in notebooks. Raises CannotError."""
    return image_with(client, "notebook", INSTALL)


def ipykernel_image(client: docker.DockerClient) -> str:
    """The name of an image with the ipykernel that is here. Raises CannotError."""
    wanted = f"ipykernel=={metadata.version('ipykernel')}"
    install = PIP_INSTALL.replace("--no-compile ", "")  # as people do, and it starts faster
    script = f"export PIP_BREAK_SYSTEM_PACKAGES=1\n{install} {wanted}\n"
    return image_with(client, "ipykernel", script)


def image_with(client: docker.DockerClient, kind: str, script: str) -> str:
    """The name of an image with what a script adds to `base`. Raises CannotError."""
    base = image("base", client)
    made = Recipe(kind, f"{script}# {base}\n", "python3")
    name = f"docker-kernel-test/{kind}:{made.tag}"
    try:
        client.images.get(name)
    except ImageNotFound:
        cache = user_cache_path("docker-kernel-test")
        file = cache / f"{made.name}-{made.tag}.tar"
        with locked(cache / f"{made.name}.lock"):
            if not file.exists():
                say(f"image: installing what {kind} has")
                install_into(client, base, made.script, file)
        import_image(client, name, file, made.command)
    return name


def install_into(client: docker.DockerClient, base: str, script: str, file: Path) -> None:
    """Run a script in a container, and keep its file system. Raises CannotError."""
    access = pip_access()
    container = client.containers.create(
        base, ["sh", "-eu", "-c", script], environment=access.env, volumes=access.binds()
    )
    try:
        container.start()
        if container.wait()["StatusCode"] != 0:
            words = container.logs().decode(errors="replace").splitlines()[-1:]
            raise CannotError(f"pip in a container failed: {' '.join(words)}")
        # Not as a layer: the image would remember the mounts.
        partial = file.with_suffix(".partial")
        with partial.open("wb") as out:
            chunks: Any = container.export(chunk_size=1 << 20)
            out.writelines(chunks)
        partial.replace(file)
    finally:
        container.remove(force=True)


def import_image(client: docker.DockerClient, name: str, file: Path, command: str) -> None:
    """Make an image of a tar file. Raises CannotError with the engine's words."""
    repository, tag = name.split(":")
    changes = [f"ENV PATH={PATH}", "ENV LANG=C.UTF-8", f'CMD ["{command}"]']
    say(f"image: importing {name}")
    try:
        client.api.import_image_from_file(str(file), repository, tag, changes=changes)
        client.images.get(name)
    except DockerException as exc:
        raise CannotError(f"the engine can't import {name}: {exc}") from exc


def file_system(made: Recipe) -> Path:
    """The tar file of a recipe, from the cache or made now. Raises CannotError."""
    cache = user_cache_path("docker-kernel-test")
    file = cache / f"{made.name}-{made.tag}.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{made.name}.lock"):
        if not file.exists():
            if reason := cannot_make(made):
                raise CannotError(reason)
            if "debootstrap" in made.script and system_tool("debootstrap") is None:
                apt_install("debootstrap", "debian-archive-keyring")
            say(f"image: making the file system of {made.name}; this takes about a minute")
            make_file_system(made, file)
            for other in cache.glob(f"{made.name}-{'?' * len(made.tag)}.tar"):
                if other != file:
                    other.unlink()
    return file


def make_file_system(made: Recipe, file: Path) -> None:
    """Run a recipe's script and keep what it made as a tar file, whole or not at all."""
    log = file.with_name(f"{made.name}.log")
    pack = "\ntar -C root --numeric-owner -c . > image.tar\n"
    environment = {**system_environment(), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f"{made.name}.") as folder:
        # A mount name space of its own: what debootstrap mounts goes when it ends, however it ends,
        # and before the folder is removed.
        command = ["unshare", "--mount", "sh", "-eu", "-c", made.script + pack]
        with log.open("w", encoding="utf-8") as out:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=out, stderr=out, check=False
            )
        if done.returncode != 0:
            words = log.read_text(encoding="utf-8", errors="replace").splitlines()[-2:]
            raise CannotError(f"making {made.name} failed ({log}): {' | '.join(words)}")
        Path(folder, "image.tar").replace(file)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """One at a time: another run that wants the same file system waits for it."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """The script; returns its exit code."""
    with_pip = {"notebook": notebook_image, "ipykernel": ipykernel_image}
    if len(arguments) != 1 or arguments[0] not in (*KINDS, *with_pip):
        say(__doc__ or "")
        return 2
    try:
        with using() as engine, contextlib.closing(engine.client()) as client:
            make = with_pip.get(arguments[0]) or partial(image, arguments[0])
            print(make(client))
    except CannotError as exc:
        say(f"image: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
