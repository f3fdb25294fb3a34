"""A small agent: it writes a script, checks it, installs what it needs, runs it, and reads the result.

    python examples/agent.py

All of that happens in a container, which starts with the first call and is gone at the end. What a
language model would write is given here: a draft with a typo, one that never ends, and a good one.
What went wrong with a draft is what such a model would be told.
"""

from __future__ import annotations

import json
import sys

from docker_kernel import (
    check_python_syntax,
    create_docker_client,
    create_log_file,
    install_package,
    run_python_script,
    run_shell_command,
    set_docker_client,
    test_docker_connection,
)

NEEDS = ["tabulate"]
TIMEOUT_SECONDS = 20
DRAFTS = [
    """\
from tabulate import tabulate
print(tabulate([["squares", 5]])
""",
    """\
squares, n = [], 1
while len(squares) < 5:
    squares.append(n * n)
    squares = squares[:4]
""",
    """\
import json
from tabulate import tabulate

squares = [n * n for n in range(1, 6)]
print(tabulate(enumerate(squares, 1), headers=["n", "square"]))
with open("result.json", "w") as file:
    json.dump({"sum": sum(squares)}, file)
""",
]


def main() -> int:
    reached = test_docker_connection()
    print(reached["message"])
    if not reached["success"]:
        print(reached["error"])
        return 1
    for package in NEEDS:
        installed = install_package(package)
        if not installed["success"]:
            print(f"{package} can't be installed:\n{installed['stderr']}")
            return 1
        print(f"{package} is installed")
    for number, draft in enumerate(DRAFTS, 1):
        problem = attempt(draft)
        if problem is None:
            result = json.loads(run_shell_command("cat result.json")["stdout"])
            print(f"draft {number} worked, and the sum is {result['sum']}")
            return 0
        print(f"draft {number}: {problem}")
    return 1


def attempt(draft: str) -> str | None:
    """Run a draft; what is wrong with it, None where nothing is."""
    create_log_file("task.py", draft)
    check = check_python_syntax("task.py")
    wrong = check["syntax_error"]
    if wrong is not None:
        return f"line {wrong['line']}: {wrong['message']}"
    done = run_python_script("task.py", timeout=TIMEOUT_SECONDS, stream_output=True)
    if done["success"]:
        return None
    # `error` says what an exit code can't: it took too long, or a signal ended it.
    return done.get("error") or done["stderr"]


if __name__ == "__main__":
    # Without a folder of this machine in it.
    with create_docker_client(mount_workspace=False) as client:
        set_docker_client(client)
        sys.exit(main())
