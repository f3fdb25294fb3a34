"""JupyterLab as a person has it: its server, and a browser that shows it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import requests
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from system import CannotError, end, is_root, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 60.0
"""Seconds for what should take much less: a loaded machine is slow, and a hang must end."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1280, 1000)
# All cells are in the page, also those out of sight; a loaded machine may be slow; and nobody asks
# whether there are news.
SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/completer-extension:manager": {"providerTimeout": 30000},
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
}
# Each gets the open notebook's panel as `panel`, and its own arguments as `given`.
ADD = """
const [code] = given;
const cells = panel.content.model.sharedModel;
cells.addCell({cell_type: "code", source: code});
panel.content.activeCellIndex = cells.cells.length - 1;
return panel.content.activeCell.node;
"""
CELLS = "return panel.content.widgets.map((cell) => cell.node);"
# The reply and the outputs come by ways of their own, and the number doesn't wait for all of them.
DONE = """
const cells = jupyterapp.shell.currentWidget.content.widgets;
const sent = cells.find((cell) => cell.node === arguments[0]).outputArea.future;
return sent.done.then(() => true, () => false);
"""
READY = """
await panel.context.ready;
await panel.sessionContext.ready;
await panel.sessionContext.session.kernel.info;
"""
# Without the numbers before them.
OUTPUTS = ".jp-Cell-outputArea > .jp-OutputArea-child > .jp-OutputArea-output"

T = TypeVar("T")


def find_browser() -> tuple[str, str]:
    """The programs of Chromium and of its driver. Raises CannotError."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = "chromedriver" if browser else "Chromium"
        raise CannotError(f"{missing} isn't installed; apt-get install chromium chromium-driver")
    return browser, driver


class LabServer:
    """JupyterLab's server from `__enter__` to `__exit__`.

    All that is its own is in ``home``; ``env`` is for its kernels."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        self.home = home
        self._env = env
        self.folder = home / "notebooks"
        self.config = home / "config"
        self._token = secrets.token_hex(16)
        self._log = home / "server.log"
        self.process: subprocess.Popen[bytes]
        self.url = ""

    def __enter__(self) -> Self:
        self.folder.mkdir()
        if is_root():  # a container's user is an ordinary one
            os.chown(self.folder, 1000, 1000)
        overrides = self.config / "labconfig" / "default_setting_overrides.json"
        overrides.parent.mkdir(parents=True)
        overrides.write_text(json.dumps(SETTINGS), encoding="utf-8")
        runtime = self.home / "runtime"
        env = {
            "JUPYTER_CONFIG_DIR": f"{self.config}",
            "JUPYTER_DATA_DIR": f"{self.home / 'data'}",
            "JUPYTER_RUNTIME_DIR": f"{runtime}",
            "JUPYTER_TOKEN": self._token,
            **self._env,
        }
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0"]
        command += [f"--ServerApp.root_dir={self.folder}", "--LabApp.expose_app_in_browser=True"]
        command += ["--allow-root"] if is_root() else []
        with self._log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.url = self._wait_for_url(runtime)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_for_url(self, runtime: Path) -> str:
        found: list[int] = []

        def written() -> bool:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(json.JSONDecodeError):  # it is being written
                texts = [
                    file.read_text(encoding="utf-8") for file in runtime.glob("jpserver-*.json")
                ]
                found[:] = [json.loads(text)["port"] for text in texts]
            return bool(found)

        assert wait_until(written, PATIENCE), self.log()
        return f"http://127.0.0.1:{found[0]}"

    def __exit__(self, *exc: object) -> None:
        # It may wait for ever for a thread that was at work when it was told to end.
        end(self.process)

    def log(self) -> str:
        """What the server has said."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def page(self) -> str:
        """The address of JupyterLab, with what lets a browser in."""
        return f"{self.url}/lab?token={self._token}"

    def end_kernels(self) -> None:
        """End all kernels, and wait until they have ended."""
        headers = {"Authorization": f"token {self._token}"}
        with requests.Session() as session:
            session.headers.update(headers)
            kernels = session.get(f"{self.url}/api/kernels", timeout=PATIENCE).json()
            for kernel in kernels:
                session.delete(f"{self.url}/api/kernels/{kernel['id']}", timeout=PATIENCE)


class Lab:
    """JupyterLab in a browser, from `__enter__` to `__exit__`."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        self.server = LabServer(home, env)
        self._home = home
        self._stack = contextlib.ExitStack()
        self.driver: Chrome

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            program, driver = find_browser()
            stack.enter_context(self.server)
            stack.callback(self.server.end_kernels)
            self.driver = self._start(program, driver)
            stack.callback(self.driver.quit)
            self.driver.set_script_timeout(PATIENCE)
            self.driver.get(self.server.page())
            self.wait(self._is_ready, "JupyterLab did not start")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _start(self, program: str, driver: str) -> Chrome:
        options = ChromeOptions()
        options.binary_location = program
        options.add_argument("--headless=new")
        options.add_argument(f"--user-data-dir={self._home / 'profile'}")
        options.add_argument("--window-size={},{}".format(*SIZE))
        options.add_argument("--disable-dev-shm-usage")
        if is_root():  # Chromium's own sandbox is for others than root alone
            options.add_argument("--no-sandbox")
        # Where else it would write.
        temporary = self._home / "tmp"
        temporary.mkdir()
        env = {**os.environ, "HOME": str(self._home), "TMPDIR": str(temporary)}
        return Chrome(options, Service(driver, env=env))

    def _is_ready(self) -> bool:
        script = "return !!window.jupyterapp && jupyterapp.restored.then(() => true);"
        return bool(self.driver.execute_script(script))

    # -- looking at the page

    def wait(self, ask: Callable[[], T], what: str) -> T:
        """Ask until the answer is true. ``what`` says what is wrong where it never is."""
        answer: list[T] = []

        def is_so() -> bool:
            # What is about to be drawn anew may go while one looks at it.
            with contextlib.suppress(WebDriverException):
                answer[:] = [ask()]
                return bool(answer[0])
            return False

        if not wait_until(is_so, PATIENCE):
            raise AssertionError(f"{what}; the page says:\n{self.text()}")
        return answer[0]

    def text(self) -> str:
        """All that can be read in the page."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def find(self, css: str, text: str = "") -> WebElement:
        """Wait for an element that can be seen and has this text."""

        def seen() -> WebElement | None:
            found = self.driver.find_elements("css selector", css)
            shown = (item for item in found if item.is_displayed() and text in item.text)
            return next(shown, None)

        found = self.wait(seen, f"there is no {css} {text}")
        assert found is not None
        return found

    def is_drawn(self, image: WebElement) -> bool:
        """Whether the image came and could be read; waits for that."""
        return bool(
            self.driver.execute_script("return arguments[0].decode().then(() => true)", image)
        )

    # -- what a person does

    def command(self, name: str, **arguments: Any) -> None:
        """Run one of JupyterLab's commands."""
        script = "return jupyterapp.commands.execute(...arguments).then(() => null);"
        self.driver.execute_script(script, name, arguments)

    def choose(self, menu: str, command: str) -> None:
        """Choose an entry of a menu by the name of its command."""
        self.find(".lm-MenuBar-item", menu).click()
        self.find(f".lm-Menu-item[data-command='{command}']").click()

    def press(self, *keys: str) -> None:
        """Type a text and press keys, where the cursor is."""
        ActionChains(self.driver, 0).send_keys(*keys).perform()

    def open(self, name: str, kernel: str, *cells: str) -> Notebook:
        """Open a notebook that asks for this kernel, and wait until the kernel answers."""
        content = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}},
            "cells": [code_cell(number, code) for number, code in enumerate(cells)],
        }
        file = self.server.folder / name
        file.write_text(json.dumps(content), encoding="utf-8")
        self.command("docmanager:open", path=name)
        notebook = Notebook(self)
        notebook.script(READY)
        return notebook


def code_cell(number: int, code: str) -> dict[str, Any]:
    """A cell as it stands in a notebook's file."""
    return {
        "id": f"cell-{number}",
        "cell_type": "code",
        "source": code,
        "metadata": {},
        "execution_count": None,
        "outputs": [],
    }


class Notebook:
    """The open notebook."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def script(self, body: str, *given: Any) -> Any:
        """Run a script that has the notebook's panel, and what is given to it."""
        call = (
            f"(async (panel, given) => {{{body}}})(jupyterapp.shell.currentWidget, [...arguments])"
        )
        return self.lab.driver.execute_script(f"return {call};", *given)

    def add(self, code: str = "") -> Cell:
        """Add a cell at the end, and go there."""
        return Cell(self.lab, self.script(ADD, code))

    def run(self, code: str) -> Cell:
        """Run a new cell; it may take its time."""
        cell = self.add(code)
        cell.run()
        return cell

    def value(self, code: str) -> str:
        """What a cell shows in the end."""
        return self.run(code).done().text

    def cells(self) -> list[Cell]:
        """All cells."""
        return [Cell(self.lab, node) for node in self.script(CELLS)]


class Cell:
    """A cell in the page."""

    def __init__(self, lab: Lab, node: WebElement) -> None:
        self.lab = lab
        self.node = node

    def focus(self) -> None:
        """Click into its text."""
        self.node.find_element("css selector", ".cm-content").click()

    def run(self) -> None:
        """Run it with Shift+Enter."""
        self.focus()
        held = ActionChains(self.lab.driver, 0).key_down(Keys.SHIFT)
        held.send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()

    @property
    def prompt(self) -> str:
        """What stands before it: [ ]: or [*]: or [3]:"""
        return self.node.find_element("css selector", ".jp-InputPrompt").text

    @property
    def text(self) -> str:
        """What can be read in its outputs."""
        outputs = self.node.find_elements("css selector", OUTPUTS)
        return "\n".join(output.text for output in outputs)

    def shows(self, text: str) -> Self:
        """Wait until its outputs have this text."""
        self.lab.wait(lambda: text in self.text, f"the cell doesn't show {text!r}")
        return self

    def done(self) -> Self:
        """Wait until it has run, and all that came of it is in the page."""
        self.lab.wait(
            lambda: self.lab.driver.execute_script(DONE, self.node), "the cell doesn't end"
        )
        self.lab.wait(lambda: re.fullmatch(r"\[\d+\]:", self.prompt), "the cell has no number")
        return self

    def find(self, css: str) -> WebElement:
        """Wait for an element of it that can be seen."""

        def seen() -> WebElement | None:
            found = self.node.find_elements("css selector", css)
            return next((item for item in found if item.is_displayed()), None)

        found = self.lab.wait(seen, f"the cell has no {css}")
        assert found is not None
        return found


class Gate:
    """What a cell waits at until the test opens it; in the end it is open in any case."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.code = f"import os, time\nwhile not os.path.exists({path.name!r}): time.sleep(0.01)"

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        return self

    def open(self) -> None:
        """Let the cell go on."""
        self._path.touch()

    def __exit__(self, *exc: object) -> None:
        self.open()
