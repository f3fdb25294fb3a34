"""The person's IPython configuration, found, read and obeyed as ipykernel does it.

Configuration files and startup files come from the profile (``~/.ipython/profile_default``) and
from the image (``/etc/ipython``). The class has ipykernel's name, as its section has there.
"""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.application import BaseIPythonApplication
from IPython.core.shellapp import InteractiveShellApp
from traitlets import Any as AnyTrait
from traitlets import Unicode


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):  # type: ignore[misc]
    """What configures a session's shell."""

    name = "ipython-kernel"
    connection_file = Unicode("", help="None: the file is not in the container.").tag(config=True)
    kernel = AnyTrait()

    def read(self) -> None:
        """Find the profile, and read the configuration files."""
        try:
            self.init_profile_dir()
            self.init_config_files()
            self.load_config_file()
        except SystemExit as exc:
            # IPython's way to give up; the session would end without a word.
            raise RuntimeError(f"no profile in {self.ipython_dir}") from exc
        # tqdm before 4.68 and others look for this section to find out that this is a kernel.
        self.config.IPKernelApp.connection_file = ""

    def begin(self, shell: Any, kernel: Any) -> None:
        """Load the extensions and run the startup files. What fails is shown, and the rest done."""
        self.shell, self.kernel = shell, kernel
        shell.configurables.append(self)
        if getattr(self, "ignore_cwd", False) and "" in sys.path:
            sys.path.remove("")
        for step in (self.init_gui_pylab, self.init_extensions, self.init_code):
            try:
                step()
            except Exception:  # noqa: BLE001 - the person's code
                shell.showtraceback()
