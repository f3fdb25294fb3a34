"""Makes the picture of JupyterLab in the README anew: docs/jupyterlab.png.

python tests/picture.py
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

from engine import using
from images import notebook_image
from lab import Lab
from system import CannotError, say

FILE = Path(__file__).parents[1] / "docs" / "jupyterlab.png"
SIZE = (1000, 890)
PLACE = """import os, platform
print('hello from the container', platform.node(), 'as user', os.getuid())
os.getcwd()"""
BAR = """from tqdm import tqdm
sum(n * n for n in tqdm(range(3_000_000)))"""
SLIDER = """import ipywidgets, matplotlib.pyplot as plt, numpy as np

@ipywidgets.interact(waves=(1, 9))
def draw(waves):
    x = np.linspace(0, 2 * np.pi, 500)
    plt.figure(figsize=(8, 1.8))
    plt.plot(x, np.sin(waves * x) * np.sin(x / 2))"""


def make(home: Path) -> None:
    """Run the cells in a container, and save what the page shows. Raises CannotError."""
    with using() as engine:
        with contextlib.closing(engine.client()) as client:
            image = notebook_image(client)
        with Lab(home, {"DOCKER_HOST": engine.host, "DOCKER_KERNEL_IMAGE": image}) as lab:
            lab.driver.set_window_size(*SIZE)
            lab.command("application:toggle-left-area")
            notebook = lab.open("waves.ipynb", "docker", PLACE, BAR, SLIDER)
            lab.choose("Run", "runmenu:run-all")
            cells = [cell.done() for cell in notebook.cells()]
            lab.wait(lambda: lab.is_drawn(cells[-1].find("img")), "there is no figure")
            lab.driver.save_screenshot(str(FILE))


def main() -> int:
    """The script; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="docker-kernel-lab-") as folder:
        Path(folder).chmod(0o755)  # a container's user finds the notebook in it
        try:
            make(Path(folder))
        except CannotError as exc:
            say(f"picture: {exc}")
            return 1
    say(f"picture: {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
