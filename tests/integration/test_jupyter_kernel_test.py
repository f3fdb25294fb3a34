"""Jupyter's own tests of a kernel, all of them, on a kernel with a container (K4)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import ClassVar

import jupyter_kernel_test
import pytest

from kernels import Kernel


@pytest.fixture(scope="module")
def kernel(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    os.chown(folder, 1000, 1000)
    with Kernel(f"--image={image}", folder=folder) as running:
        # What follows waits only a second for the first output.
        assert running.run("'ready'").result == "'ready'"
        yield running


@pytest.fixture(scope="class")
def _started(request: pytest.FixtureRequest, kernel: Kernel) -> None:
    request.cls.km, request.cls.kc = kernel.manager, kernel.client


@pytest.mark.usefixtures("_started")
class TestFeatures(jupyter_kernel_test.KernelTests):  # type: ignore[misc]
    """Each attribute switches tests on."""

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "import asyn", "matches": {"asynchat", "asyncio", "asyncore"}},
        {"text": "str.isalph", "matches": {"isalpha"}},
    ]
    complete_code_samples: ClassVar = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n"]
    incomplete_code_samples: ClassVar = ["print('''hello", "def f(x):\n  x*2", "for i in x:"]
    invalid_code_samples: ClassVar = ["import = 7q", "x = )"]
    code_page_something = "print?"
    code_generate_error = "raise ValueError('wrong')"
    code_execute_result: ClassVar = [
        {"code": "6*7", "result": "42"},
        {"code": "'a' + 'b'", "result": "'ab'"},
        {"code": "from IPython.display import HTML; HTML('<b>')", "mime": "text/html"},
    ]
    code_display_data: ClassVar = [
        {"code": "from IPython.display import HTML; display(HTML('<b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math; display(Math('x'))", "mime": "text/latex"},
    ]
    code_history_pattern = "6?7*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    @classmethod
    def setUpClass(cls) -> None:
        """The fixture has started it."""

    @classmethod
    def tearDownClass(cls) -> None:
        """The fixture ends it."""


@pytest.fixture(scope="class")
def _alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A kernel that has no client yet: only the first is told, as with ipykernel."""
    manager = Kernel("--mode=attached", folder=tmp_path_factory.mktemp("alone")).manager
    manager.start_kernel()
    request.cls.km, request.cls.kc = manager, manager.client()
    yield
    request.cls.kc.stop_channels()
    manager.shutdown_kernel()


@pytest.mark.usefixtures("kernel", "_alone")  # the first closes the event loop of the clients
class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc]
    """A subscriber is told when its subscription is there."""

    support_iopub_welcome = True

    @classmethod
    def setUpClass(cls) -> None:
        """The fixture has started it."""

    @classmethod
    def tearDownClass(cls) -> None:
        """The fixture ends it."""


def test_every_feature_is_switched_on() -> None:
    """Also those that a later version of jupyter_kernel_test may bring."""
    features = {
        name
        for theirs in (jupyter_kernel_test.KernelTests, jupyter_kernel_test.IopubWelcomeTests)
        for name, value in vars(theirs).items()
        if not name.startswith("_") and not callable(value) and not isinstance(value, classmethod)
    }
    ours = {**vars(TestFeatures), **vars(TestWelcome)}
    assert {name for name in features - {"kernel_name"} if not ours.get(name)} == set()
