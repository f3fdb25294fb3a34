"""What people use in notebooks: widgets, figures, progress bars, debuggers, processes, pip.

One kernel serves all of it. Messages that need no library are held against ipykernel's own in
test_against_ipykernel.py.
"""

from __future__ import annotations

import base64
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from frontend import Frontend, Message
from kernels import Cell, Kernel

PNG = b"\x89PNG\r\n\x1a\n"
LIBRARIES = "import sys; sorted({'numpy', 'matplotlib', 'pandas', 'ipywidgets'} & set(sys.modules))"
SETUP = """
import asyncio, concurrent.futures as futures, multiprocessing as mp, os
import ipywidgets as w, matplotlib.pyplot as plt
from IPython.display import Image
from matplotlib_inline.backend_inline import set_matplotlib_formats

def tell(what): print(what)
def square(n): return n * n
def fails(a):
    b = a * 2
    return 1 / 0
async def later():
    await asyncio.sleep(0.1)
    print('later')
    return 7
"""
VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass
class Notebook:
    """A kernel, its folder, and a frontend that can say more than "run this"."""

    kernel: Kernel
    folder: Path
    imported: str | None = None
    """The libraries that the session had before its first cell."""

    def run(self, code: str, *answers: str) -> Cell:
        """Run a cell; each of its questions gets the next answer."""
        rest = list(answers)
        return self.kernel.run(code, answer=(lambda _: rest.pop(0)) if answers else None)

    def value(self, code: str) -> str:
        """The plain text of a cell's value."""
        cell = self.run(code)
        assert cell.status == "ok", cell
        return str(cell.result)

    def comm(self, kind: str, content: Message, *buffers: bytes) -> list[Message]:
        """Send a comm message; all that it brings about on iopub, with it as the parent."""
        frontend = Frontend(self.kernel.client, self.folder)
        frontend.send(kind, content, buffers=list(buffers))
        (sent,) = frontend.exchange.sent
        came = frontend.finish().on("iopub")
        return [message for message in came if message["parent_header"].get("msg_id") == sent]

    def change(self, widget: str, *buffers: bytes, **state: Any) -> list[Message]:
        """What a person's change of a widget brings about; ``widget`` is an expression."""
        model = self.value(f"({widget}).model_id").strip("'")
        paths = [["value", 0, "content"]] if buffers else []
        data = {"method": "update", "state": state, "buffer_paths": paths}
        return self.comm("comm_msg", {"comm_id": model, "data": data}, *buffers)

    def click(self, widget: str) -> list[Message]:
        """What a click on a button brings about."""
        model = self.value(f"({widget}).model_id").strip("'")
        data = {"method": "custom", "content": {"event": "click"}}
        return self.comm("comm_msg", {"comm_id": model, "data": data})


@pytest.fixture(scope="module")
def notebook(notebook_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    folder = tmp_path_factory.mktemp("notebook")
    # An ordinary user's, for the tests may run as root.
    os.chown(folder, 1000, 1000)
    with Kernel(f"--image={notebook_image}", folder=folder) as kernel:
        imported = kernel.run(LIBRARIES).result
        assert kernel.run(SETUP).status == "ok"
        yield Notebook(kernel, folder, imported)


def of(messages: list[Message], kind: str) -> list[Message]:
    """The contents of the messages of a type."""
    return [message["content"] for message in messages if message["msg_type"] == kind]


def states(messages: list[Message], name: str) -> list[Any]:
    """What was said of a widget's trait, in order."""
    found = [content["data"].get("state", {}) for content in of(messages, "comm_msg")]
    return [state[name] for state in found if name in state]


def images(messages: list[Message], mime: str = "image/png") -> list[bytes]:
    """The images that were displayed."""
    bundles = [content["data"] for content in of(messages, "display_data")]
    found = [bundle[mime] for bundle in bundles if mime in bundle]
    return [base64.b64decode(data) if mime == "image/png" else data.encode() for data in found]


def last_line(text: str) -> str:
    """The line that a frontend shows of text with carriage returns."""
    return text.rstrip("\n").rsplit("\r", 1)[-1]


def test_the_session_begins_with_none_of_the_libraries(notebook: Notebook) -> None:
    """K11: numpy looks at OMP_NUM_THREADS and matplotlib at MPLBACKEND when they are imported."""
    assert notebook.imported == "[]"


# ---- widgets (K7)


def test_a_widget_opens_comms_and_is_shown(notebook: Notebook) -> None:
    cell = notebook.run("w.IntSlider(value=3)")
    opened = of(cell.messages, "comm_open")
    assert {content["target_name"] for content in opened} == {"jupyter.widget"}
    assert "IntSliderModel" in [content["data"]["state"]["_model_name"] for content in opened]
    (shown,) = of(cell.messages, "execute_result")
    assert shown["data"][VIEW]["model_id"] == opened[-1]["comm_id"]
    comms = notebook.kernel.ask("comm_info", target_name="jupyter.widget")["comms"]
    assert set(comms) >= {content["comm_id"] for content in opened}


def test_a_persons_change_runs_the_callback(notebook: Notebook) -> None:
    """What the callback prints and displays belongs to the change, and not to a cell."""
    notebook.run(
        "slider = w.IntSlider()\n"
        "def changed(change):\n"
        "    print('now', change['new'])\n"
        "    display(change['new'])\n"
        "slider.observe(changed, 'value')"
    )
    came = notebook.change("slider", value=7)
    assert of(came, "stream") == [{"name": "stdout", "text": "now 7\n"}]
    assert [content["data"]["text/plain"] for content in of(came, "display_data")] == ["7"]
    assert notebook.value("slider.value") == "7"


def test_a_callback_that_fails_is_shown(notebook: Notebook) -> None:
    notebook.run("button = w.Button()\nbutton.on_click(lambda button: 1 / 0)")
    (error,) = of(notebook.click("button"), "error")
    assert error["ename"] == "ZeroDivisionError"
    assert "docker_kernel" not in str(error["traceback"])


def test_an_output_widget_takes_what_is_printed_and_raised(notebook: Notebook) -> None:
    """It names the request whose output it takes; the frontend does the rest."""
    notebook.run("out = w.Output()\nout")
    cell = notebook.run("with out:\n    print('inside')\n    1 / 0\nprint('outside')")
    assert cell.status == "ok"
    request = cell.reply["parent_header"]["msg_id"]
    assert states(cell.messages, "msg_id") == [request, ""]
    kinds = [kind for kind in cell.kinds() if kind in ("comm_msg", "stream", "error")]
    assert kinds == ["comm_msg", "stream", "error", "comm_msg", "stream"]
    parents = {message["parent_header"]["msg_id"] for message in cell.messages}
    assert parents == {request}


def test_interact(notebook: Notebook) -> None:
    """The figure is there without plt.show(), as in a cell."""
    code = "@w.interact(n=(1, 9))\ndef both(n):\n"
    cell = notebook.run(code + "    print('n is', n)\n    plt.plot([n])\n    return n * 2")
    assert cell.text() == "n is 5\n"
    assert len(images(cell.messages)) == 1
    came = notebook.change("both.widget.children[0]", value=8)
    request = next(m["parent_header"]["msg_id"] for m in came)
    assert states(came, "msg_id") == [request, ""]
    assert of(came, "stream") == [{"name": "stdout", "text": "n is 8\n"}]
    assert "16" in [content["data"]["text/plain"] for content in of(came, "display_data")]
    assert len(images(came)) == 1


def test_binary_buffers_arrive_whole_both_ways(notebook: Notebook) -> None:
    data = os.urandom(3_000_000)
    notebook.run("upload = w.FileUpload()")
    file = {"name": "a.bin", "type": "", "size": len(data), "last_modified": 0}
    notebook.change("upload", data, value=[file])
    (notebook.folder / "sent.bin").write_bytes(data)
    code = "upload.value[0]['content'].tobytes() == open('sent.bin', 'rb').read()"
    assert notebook.value(code) == "True"
    cell = notebook.run("w.Image(value=open('sent.bin', 'rb').read())")
    buffers = [bytes(part) for message in cell.messages for part in message["buffers"]]
    assert buffers == [data]


def test_widgets_close(notebook: Notebook) -> None:
    model = notebook.value("closing = w.IntSlider()\nclosing.model_id").strip("'")
    closed = of(notebook.run("closing.close()").messages, "comm_close")
    assert model in [content["comm_id"] for content in closed]
    comms = notebook.kernel.ask("comm_info", target_name="jupyter.widget")["comms"]
    assert model not in comms


# ---- progress bars (O2)


def test_a_bar_of_text_is_one_line(notebook: Notebook) -> None:
    cell = notebook.run("from tqdm import tqdm\nfor i in tqdm(range(3)): pass")
    text = cell.text("stderr")
    assert text.count("\n") == 1
    assert "3/3" in last_line(text)


def test_a_bar_of_widgets(notebook: Notebook) -> None:
    """It finds out that this is a notebook."""
    cell = notebook.run("from tqdm.auto import trange\nfor i in trange(3): pass")
    assert "HBoxModel" in [
        content["data"]["state"]["_model_name"] for content in of(cell.messages, "comm_open")
    ]
    assert "3/3" in states(cell.messages, "value")[-1]
    assert notebook.value("trange.__module__") == "'tqdm.auto'"


def test_rich_draws_in_html(notebook: Notebook) -> None:
    cell = notebook.run("from rich.progress import track\nfor i in track(range(3)): pass")
    assert cell.text() == ""
    drawn = [content["data"].get("text/html", "") for content in of(cell.messages, "display_data")]
    assert any("100%" in text for text in drawn)


# ---- figures and tables (K3, K6)


def test_figures_are_shown_at_the_cells_end(notebook: Notebook) -> None:
    cell = notebook.run("for n in 1, 2:\n    plt.figure()\n    plt.plot([n])\nprint('last')")
    assert cell.kinds()[-3:] == ["display_data", "display_data", "status"]
    assert [image.startswith(PNG) for image in images(cell.messages)] == [True, True]
    assert images(notebook.run("plt.plot([1])\n1 / 0").messages)


def test_plt_show_shows_at_once(notebook: Notebook) -> None:
    cell = notebook.run("plt.plot([1])\nplt.show()\nprint('after')")
    kinds = [kind for kind in cell.kinds() if kind in ("display_data", "stream")]
    assert kinds == ["display_data", "stream"]


def test_figures_in_other_formats(notebook: Notebook) -> None:
    cell = notebook.run("set_matplotlib_formats('svg')\nplt.plot([1]);")
    assert b"<svg" in images(cell.messages, "image/svg+xml")[0]
    cell = notebook.run("%config InlineBackend.figure_format = 'retina'\nplt.plot([1]);")
    (shown,) = of(cell.messages, "display_data")
    assert shown["metadata"]["image/png"]["width"] > 0
    notebook.run("set_matplotlib_formats('png')")


def test_an_image_of_the_notebooks_folder(notebook: Notebook) -> None:
    cell = notebook.run("plt.figure(figsize=(1, 1))\nplt.savefig('saved.png')\nplt.close()")
    assert images(cell.messages) == []
    (shown,) = of(notebook.run("Image('saved.png')").messages, "execute_result")
    saved = (notebook.folder / "saved.png").read_bytes()
    assert base64.b64decode(shown["data"]["image/png"]) == saved
    assert saved.startswith(PNG)


def test_a_table_is_html(notebook: Notebook) -> None:
    cell = notebook.run("import pandas\npandas.DataFrame({'a': [1, 2]})")
    (shown,) = of(cell.messages, "execute_result")
    assert "<table" in shown["data"]["text/html"]


# ---- debuggers (K6)


def test_a_debugger_after_the_error(notebook: Notebook) -> None:
    assert notebook.run("fails(21)").status == "error"
    cell = notebook.run("%debug", "p a + b", "u", "p fails", "q")
    assert "63\n" in cell.text()
    assert "<function fails" in cell.text()
    assert cell.status == "ok"


@pytest.mark.parametrize("stop", ["breakpoint()", "import pdb; pdb.set_trace()"])
def test_a_breakpoint(notebook: Notebook, stop: str) -> None:
    code = f"def stops():\n    local = 5\n    {stop}\n    return local\nstops()"
    cell = notebook.run(code, "p local", "local = 6", "c")
    assert "5\n" in cell.text()
    assert cell.result == "6"


def test_pdb_on(notebook: Notebook) -> None:
    notebook.run("%pdb on")
    cell = notebook.run("fails(21)", "p b", "q")
    assert "42\n" in cell.text()
    assert notebook.run("%pdb off").status == "ok"


# ---- loops, threads and processes (K6, O9)


def test_a_task_outlives_its_cell(notebook: Notebook) -> None:
    cell = notebook.run("task = asyncio.create_task(later())")
    assert cell.text() == ""
    assert notebook.value("await task") == "7"


def test_a_loop_in_a_loop(notebook: Notebook) -> None:
    cell = notebook.run("asyncio.run(later())")
    assert cell.reply["content"]["ename"] == "RuntimeError"
    assert "cannot be called from a running event loop" in cell.reply["content"]["evalue"]
    cell = notebook.run("import nest_asyncio\nnest_asyncio.apply()\nasyncio.run(later())")
    assert (cell.text(), cell.result) == ("later\n", "7")


PROCESSES = {
    "fork": "p = mp.get_context('fork').Process(target=tell, args=('told',))",
    "spawn": "p = mp.get_context('spawn').Process(target=print, args=('told',))",
    "forkserver": "p = mp.get_context('forkserver').Process(target=print, args=('told',))",
}


@pytest.mark.parametrize("made", PROCESSES.values(), ids=PROCESSES)
def test_processes(notebook: Notebook, made: str) -> None:
    cell = notebook.run(f"{made}\np.start()\np.join()\np.exitcode")
    assert (cell.text(), cell.result) == ("told\n", "0")


@pytest.mark.parametrize("pool", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_pools(notebook: Notebook, pool: str) -> None:
    code = f"with futures.{pool}(2) as pool: squares = list(pool.map(square, range(4)))\nsquares"
    assert notebook.value(code) == "[0, 1, 4, 9]"


def test_what_is_printed_past_python(notebook: Notebook) -> None:
    code = "import ctypes, faulthandler\nctypes.CDLL(None).printf(b'from C\\n')\n"
    cell = notebook.run(code + "os.write(1, b'raw\\n')\nos.system('echo child')\n")
    assert sorted(cell.text().split()) == ["C", "child", "from", "raw"]
    assert "line 1 in <module>" in notebook.run("faulthandler.dump_traceback()").text("stderr")


# ---- pip, and what a restart keeps (K6, K9)


def wheel(folder: Path) -> str:
    """The least that pip installs: a module with a value."""
    name = "tinything-1.0-py3-none-any.whl"
    info = "tinything-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w") as file:
        file.writestr("tinything.py", "value = 7\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return name


def test_pip_installs_and_a_restart_keeps_it(notebook: Notebook) -> None:
    """Without root. The history is kept as well."""
    cell = notebook.run(f"%pip install --no-index ./{wheel(notebook.folder)}")
    assert "Successfully installed tinything" in cell.text()
    assert notebook.value("os.getuid() != 0") == "True"
    assert notebook.value("import tinything; tinything.value") == "7"
    notebook.kernel.manager.restart_kernel()
    notebook.kernel.client.wait_for_ready(timeout=60)
    assert notebook.value("'tinything' in globals()") == "False"
    assert notebook.value("import tinything; tinything.value") == "7"
    assert "tinything" in notebook.run("!pip list").text()
    assert re.search(r"1/1: .*numpy", notebook.run("%history -g").text())
    assert notebook.run(SETUP).status == "ok"
