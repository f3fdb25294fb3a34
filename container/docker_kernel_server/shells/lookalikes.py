"""Modules by whose names libraries find out that they are in a notebook.

tqdm asks whether ``ipykernel.zmqshell`` is loaded, plotly and click whether a class is of a module
``ipykernel.…``, and bokeh takes ``ipykernel.comm.Comm``. What is imported by these names is the
session's own; an ipykernel that the image has would talk to sockets that are not there. The package
``ipykernel`` itself is the image's or missing: ipywidgets asks it for its version.
"""

from __future__ import annotations

import sys
import types
from typing import Any, Dict


def install(classes: Dict[str, Dict[str, Any]]) -> None:
    """Make modules ``ipykernel.NAME`` with these classes, which say that they are from there."""
    for name, contents in classes.items():
        module = types.ModuleType(f"ipykernel.{name}", __doc__)
        for key, value in contents.items():
            setattr(module, key, value)
            value.__module__ = module.__name__
        sys.modules[module.__name__] = module
