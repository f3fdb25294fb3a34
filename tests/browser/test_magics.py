"""%%docker in a notebook of an ordinary kernel in JupyterLab, as a person sees it."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

from lab import Gate, Lab, Notebook
from wire import Server

LOAD = "%load_ext docker_kernel"


def test_run_all(lab: Lab, server: Server, gate: Gate) -> None:
    """M1, M8: a cell's output streams, and an error stops Run All."""
    cells = [
        f"{LOAD}\n%docker connect 127.0.0.1:{server.port}",
        f"%%docker --cwd {lab.server.folder}\nprint('first')\n{gate.code}\nprint('second')\n6 * 7",
        "%%docker\n1 / 0",
        "print('after the error')",
    ]
    notebook = lab.open("run-all.ipynb", "python3", *cells)
    lab.choose("Run", "runmenu:run-all")
    _, streams, fails, last = notebook.cells()
    streams.shows("first")
    assert streams.prompt == "[*]:"
    assert "second" not in streams.text
    gate.open()
    assert streams.done().text.split() == ["first", "second", "42"]
    assert "ZeroDivisionError: division by zero" in fails.done().text
    lab.wait(lambda: last.prompt == "[ ]:", "the cell after the error was not given up")
    assert last.text == ""
    assert notebook.value("6 * 9") == "54"


@pytest.fixture(scope="module")
def notebook(container_lab: Lab) -> Notebook:
    """An ordinary kernel's notebook, with the magics."""
    opened = container_lab.open("magics.ipynb", "python3")
    opened.value(LOAD)
    return opened


def test_widgets(notebook: Notebook) -> None:
    """M1, K7: they live in the container; the ordinary kernel knows nothing of ipywidgets."""
    notebook.value("%%docker\nimport ipywidgets as w; print(w.__version__)")
    assert notebook.value("import sys; 'ipywidgets' in sys.modules") == "False"
    code = "@w.interact(n=(1, 9))\ndef square(n): print('n is', n)"
    cell = notebook.run(f"%%docker\n{code}").shows("n is 5")
    cell.find(".noUi-handle").send_keys(Keys.RIGHT)
    cell.shows("n is 6")
    assert "n is 5" not in cell.text


def test_output_widget(notebook: Notebook) -> None:
    """K7: what is printed in it stands in it, and not under the cell."""
    notebook.value("%%docker\nimport ipywidgets as w")
    shown = notebook.run("%%docker\nout = w.Output()\nout")
    code = "with out:\n    print('inside')\n    display(3)\nprint('outside')"
    assert notebook.run(f"%%docker\n{code}").done().text == "outside"
    shown.shows("inside\n3")
