"""What %docker freeze writes, and that nothing in it is the container's own idea."""

from __future__ import annotations

import json

import pytest

from docker_kernel.manage.freezing import (
    Frozen,
    changed_places,
    dockerfile_text,
    freeze,
    read_packages,
    requirements_text,
)

SIX = ("six", "1.16.0", None)


def url(text: str, **more: object) -> str:
    return json.dumps({"url": text, **more})


def test_only_what_was_added_or_replaced() -> None:
    image = {"six": SIX, "pip": ("pip", "23.0", None), "gone": ("gone", "1", None)}
    now = {"six": SIX, "pip": ("pip", "24.0", None), "numpy": ("numpy", "2.1.0", None)}
    frozen = freeze(now, image)
    assert frozen.lines == ["numpy==2.1.0", "pip==24.0"]
    assert frozen.missed == ["gone is in the image, and was uninstalled"]


@pytest.mark.parametrize(
    ("package", "line", "missed"),
    [
        (("torch", "2.1+cu118", None), "torch==2.1+cu118", "--extra-index-url"),
        (("a", "1", url("https://x.org/a-1.whl")), "a @ https://x.org/a-1.whl", ""),
        (
            ("a", "1", url("https://x.org/a.git", vcs_info={"vcs": "git", "commit_id": "f00"})),
            "a @ git+https://x.org/a.git@f00",
            "is fetched with git",
        ),
        (
            (
                "a",
                "1",
                url(
                    "https://x.org/a",
                    vcs_info={"vcs": "git", "commit_id": "f00"},
                    subdirectory="b/c",
                ),
            ),
            "a @ git+https://x.org/a@f00#subdirectory=b/c",
            "is fetched with git",
        ),
        (("a", "1", url("file:///workspace/a-1.whl")), "", "file:///workspace/a-1.whl"),
        # What code in the container may have laid there:
        (("a\nRUN rm -rf /", "1", None), "", "has a name or a version that none can have"),
        (("a", "", None), "", "has a name or a version that none can have"),
        (("--index-url=http://x", "1", None), "", "has a name or a version that none can have"),
        (("a", "1 --hash=x", None), "", "has a name or a version that none can have"),
        (("a", "1", url("https://x.org/a b")), "", "put it where pip can fetch it"),
        (("a", "1", url("https://x.org/${HOME}")), "", "put it where pip can fetch it"),
        (("a", "1", url("https://x.org/a\n--index-url=http://x")), "", "put it where pip can"),
        (("a", "1", url("https://x.org/a", vcs_info={})), "a @ https://x.org/a", ""),
        (("a", "1", url("https://x.org/a", vcs_info=[1])), "", "can't be read"),
        (
            ("a", "1", url("https://x.org/a", vcs_info={"vcs": "git", "commit_id": "f ; x"})),
            "",
            "a state that can't be written down",
        ),
        (("a", "1", url("https://x.org/a", subdirectory="b c")), "", "can't be written down"),
        (("a", "1", "not JSON"), "", "can't be read"),
    ],
)
def test_where_a_package_came_from(
    package: tuple[str, str, str | None], line: str, missed: str
) -> None:
    frozen = freeze({"a": package}, {})
    assert frozen.lines == ([line] if line else [])
    assert missed in "".join(frozen.missed)
    assert bool(missed) == bool(frozen.missed)
    # However odd, it is a line of its own, and a comment.
    text = requirements_text(frozen, "image")
    others = [item for item in text.splitlines() if not item.startswith("# ")]
    assert others == frozen.lines


@pytest.mark.parametrize("said", ["", "[]", "{", '{"a": 1}', '{"a": [1, 2]}', "null"])
def test_a_list_that_is_none(said: str) -> None:
    assert read_packages(said) is None


def test_a_list_after_other_words() -> None:
    said = 'from sitecustomize\n{"six": ["six", "1.16.0", null]}\n'
    assert read_packages(said) == {"six": SIX}


def test_places_with_changed_files() -> None:
    home = "/tmp/home"
    changes = [
        ("changed", "/etc"),
        ("added", "/etc/thing.conf"),
        ("added", "/etc/other.conf"),
        ("changed", "/tmp"),
        ("added", home),
        ("added", f"{home}/.local"),
        ("added", f"{home}/.local/lib/python3.11/site-packages/six.py"),
        ("added", f"{home}/notes.txt"),
        ("deleted", "/srv/data"),
        ("added", "/opt/conda/lib/python3.11/site-packages/numpy/__init__.py"),
        ("added", "/opt/docker-kernel"),
        ("added", "/workspace/x"),
        ("added", "/var/a\nRUN curl evil/b"),
    ]
    found = changed_places(changes, home)
    assert found[0] == "/etc (2)"
    assert sorted(found[1:]) == ["/srv (1)", "/tmp/home (1)", "/var/a RUN curl evil (1)"]


def test_many_places() -> None:
    found = changed_places([("added", f"/data/{number}/x") for number in range(30)], "/tmp/home")
    assert (len(found), found[-1]) == (21, "10 more folders")


def test_a_dockerfile() -> None:
    frozen = Frozen(["six==1.16.0"], ["a 1 came from x"])
    text = dockerfile_text("python:3.12@sha256:f00", "", "/usr/bin/python3", frozen, ["/etc (2)"])
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[:2] == [
        "FROM python:3.12@sha256:f00",
        "COPY requirements.txt /tmp/requirements.txt",
    ]
    assert lines[2].startswith("RUN PIP_BREAK_SYSTEM_PACKAGES=1 ")
    install = "/usr/bin/python3 -m pip install --no-cache-dir --no-deps -r /tmp/requirements.txt"
    assert lines[2].endswith(install)
    assert "# a 1 came from x" in text
    assert "# /etc (2)" in text


def test_a_dockerfile_of_nothing() -> None:
    text = dockerfile_text("mine", "A note.", "x; rm -rf /", Frozen(), [])
    assert text.endswith("# A note.\nFROM mine\n")
    text = dockerfile_text("mine", "", "x; rm -rf /", Frozen(["six==1"]), [])
    assert "rm -rf" not in text
