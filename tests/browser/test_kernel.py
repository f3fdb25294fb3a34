"""The kernel in JupyterLab, as a person sees it."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from lab import Gate, Lab, Notebook


def test_launcher(lab: Lab) -> None:
    """The kernel is there with its logo, for notebooks and consoles."""
    for category in ("Notebook", "Console"):
        card = lab.find(f".jp-LauncherCard[data-category={category}]", "Python 3 (Docker)")
        assert lab.is_drawn(card.find_element("css selector", "img"))


def test_a_notebook_that_asks_for_it_runs_in_a_container(lab: Lab, notebook: Notebook) -> None:
    """Without a question about the kernel; the toolbar names it."""
    lab.find(".jp-KernelName", "Python 3 (Docker)")
    place = notebook.value("import os; os.getcwd(), os.path.exists('/.dockerenv')")
    assert place == "('/workspace', True)"


def test_output_streams(notebook: Notebook, gate: Gate) -> None:
    """O2: also without a newline."""
    cell = notebook.run(f"print('first', end='')\n{gate.code}\nprint(' second')")
    cell.shows("first")
    assert cell.prompt == "[*]:"
    assert "second" not in cell.text
    gate.open()
    assert cell.done().text == "first second"


def test_picture(lab: Lab, notebook: Notebook) -> None:
    """K3: a figure is drawn, and not only sent."""
    cell = notebook.run("import matplotlib.pyplot as plt; plt.plot([1, 3, 2]);")
    assert lab.is_drawn(cell.find(".jp-OutputArea-output img"))


def test_error(notebook: Notebook) -> None:
    """K2: the traceback, in colours and without its escapes."""
    cell = notebook.run("def f():\n    return 1 / 0\n\nf()").done()
    assert "ZeroDivisionError: division by zero" in cell.text
    assert "return 1 / 0" in cell.text
    assert "[0m" not in cell.text
    cell.find("[data-mime-type='application/vnd.jupyter.stderr'] .ansi-red-fg")


def test_progress_bar(notebook: Notebook, gate: Gate) -> None:
    """O2: each state is shown at once, and replaces the one before."""
    bar = "from tqdm import tqdm\nbar = tqdm(total=2, mininterval=0)\nbar.update()"
    cell = notebook.run(f"{bar}\n{gate.code}\nbar.update(); bar.close()").shows("1/2")
    gate.open()
    assert "2/2" in cell.done().text
    assert "1/2" not in cell.text
    assert len(cell.text.splitlines()) == 1


def test_input(notebook: Notebook) -> None:
    """C4"""
    cell = notebook.run("name = input('Your name? '); print('hello', name)")
    box = cell.find("input.jp-Stdin-input")
    assert "Your name?" in cell.text
    box.send_keys("Ada", Keys.ENTER)
    cell.shows("hello Ada").done()


def test_interrupt_from_the_menu(lab: Lab, notebook: Notebook) -> None:
    """C3"""
    cell = notebook.run("kept = 1\nprint('up')\nwhile True: pass").shows("up")
    lab.choose("Kernel", "kernelmenu:interrupt")
    assert "KeyboardInterrupt" in cell.done().text
    assert notebook.value("kept") == "1"


def test_restart_from_the_menu(lab: Lab, notebook: Notebook) -> None:
    """K9: the variables are gone, the container is the same."""
    hostname = notebook.value("import socket; socket.gethostname()")
    notebook.value("gone = 1")
    lab.choose("Kernel", "kernelmenu:restart")
    lab.find(".jp-Dialog .jp-mod-accept", "Restart").click()
    cell = notebook.run("import socket; ('gone' in globals(), socket.gethostname())").done()
    assert cell.prompt == "[1]:"
    assert cell.text == f"(False, {hostname})"


def test_completion_while_a_cell_runs(lab: Lab, notebook: Notebook, gate: Gate) -> None:
    """K5: Tab in a notebook's cell, with live names."""
    notebook.value("quite_unusual = 1; quite_a_name = 2")
    running = notebook.run(f"print('up')\n{gate.code}").shows("up")
    cell = notebook.add()
    cell.focus()
    lab.press("quite_", Keys.TAB)
    lab.find(".jp-Completer-item", "quite_unusual")
    assert running.prompt == "[*]:"
    lab.press(Keys.ESCAPE)
    gate.open()
    running.done()


def test_interact(notebook: Notebook, gate: Gate) -> None:
    """K7: a slider of the container drives a function there, also while a cell runs."""
    code = "import ipywidgets as w\n@w.interact(n=(1, 9))\ndef square(n): print('n is', n)"
    cell = notebook.run(code).shows("n is 5")
    cell.find(".noUi-handle").send_keys(Keys.RIGHT)
    cell.shows("n is 6")
    assert "n is 5" not in cell.text
    running = notebook.run(f"print('up')\n{gate.code}").shows("up")
    cell.find(".noUi-handle").send_keys(Keys.RIGHT)
    cell.shows("n is 7")
    assert running.prompt == "[*]:"
    gate.open()
    assert running.done().text == "up"


def test_output_widget(notebook: Notebook) -> None:
    """K7: what is printed in it stands in it, and not under the cell."""
    shown = notebook.run("out = w.Output(layout={'border': '1px solid'})\nout")
    cell = notebook.run("with out:\n    print('inside')\n    display(3)\nprint('outside')").done()
    assert cell.text == "outside"
    shown.shows("inside\n3")
