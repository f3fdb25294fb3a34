"""Fill the runtime volume: unpack what is lent, compile it, and say that it is complete.

    python -I -S fill.py VOLUME ARCHIVE

Exit status 0: filled. 3: it was complete already. Two of these may run at the same time: the second
waits for the first. One that is killed leaves no mark, so the next begins anew.

Where the archive has certificates, in extra.pem, the volume gets a bundle.pem besides: those, and
the ones that the image trusts.
"""

import compileall
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from py_compile import PycInvalidationMode
from typing import Iterator

ALREADY_COMPLETE = 3
COMPLETE = ".complete"
LOCK = ".lock"
LOOKED_UP = ".jedi"
EXTRA, BUNDLE = "extra.pem", "bundle.pem"

# Where images keep the authorities that they trust: Debian, Ubuntu, Alpine; Red Hat; SUSE; conda.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/opt/conda/ssl/cacert.pem",
)
# Under site-packages, where the system has none.
CERTIFI = ("certifi/cacert.pem", "pip/_vendor/certifi/cacert.pem")

# The first completion of all.
LOOK_UP = """
import sys
sys.path.append(sys.argv[1])
import jedi
jedi.settings.cache_directory = sys.argv[2]
jedi.Interpreter("a", [{}]).complete()
"""


def main(volume: str, archive: str) -> int:
    """Fill `volume` from the tar file `archive`; gives the exit status."""
    with open(os.path.join(volume, LOCK), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(os.path.join(volume, COMPLETE)):
            return ALREADY_COMPLETE
        _empty(volume)
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(volume, filter="data")
            else:
                tar.extractall(volume)  # noqa: S202 - our own archive
        if os.path.exists(os.path.join(volume, EXTRA)):
            _bundle(volume)
        _compile(volume)
        if os.path.isdir(os.path.join(volume, "jedi")):
            _look_up(volume)
        # Last, and by a rename: whoever sees the mark sees all the rest.
        mark = os.path.join(volume, COMPLETE)
        with open(mark + ".new", "w") as file:
            file.write(sys.version + "\n")
        os.replace(mark + ".new", mark)
    return 0


def _empty(volume: str) -> None:
    for name in os.listdir(volume):
        path = os.path.join(volume, name)
        if name == LOCK:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _bundle(volume: str) -> None:
    """Write all certificates into one file: programs read one bundle, and not two."""
    with open(os.path.join(volume, EXTRA), "rb") as file:
        extra = file.read()
    with open(os.path.join(volume, BUNDLE), "wb") as file:
        file.write(b"\n".join([*_trusted(), extra]))


def _trusted() -> Iterator[bytes]:
    """What the image trusts: the first bundle that there is, or nothing."""
    site = sysconfig.get_paths()["purelib"]
    places = [os.environ.get("SSL_CERT_FILE", ""), *BUNDLES]
    for path in [*places, *(os.path.join(site, name) for name in CERTIFI)]:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            continue
        if b"-----BEGIN" in data:
            yield data
            return


def _compile(volume: str) -> None:
    # Unchecked: the volume is read-only from here on, and no start should pay for looking at
    # sources. A file that this Python is too old for doesn't compile, and nobody will import it.
    for workers in (0, 1):
        try:
            compileall.compile_dir(
                volume,
                maxlevels=30,
                quiet=2,
                workers=workers,
                invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            )
            return
        except OSError:
            # No semaphores here (no /dev/shm): one process does it as well.
            if workers == 1:
                raise


def _look_up(volume: str) -> None:
    # jedi reads thousands of lines before it completes its first name, and keeps what it found:
    # sessions begin with that (packages.py), for JupyterLab waits one second for a completion.
    folder = os.path.join(volume, LOOKED_UP)
    command = [sys.executable, "-I", "-S", "-c", LOOK_UP, volume, folder]
    quiet = subprocess.DEVNULL
    done = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, check=False)
    if done.returncode != 0:  # a Python that is too old for this jedi
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
