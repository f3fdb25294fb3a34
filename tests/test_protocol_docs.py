"""docs/protocol.md says what the code does: types, keys, defaults, examples, errors, bounds."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docker_kernel_server import (
    clients,
    connection,
    doorway,
    errors,
    files,
    framing,
    handshake,
    journal,
    message,
    messages,
    outgoing,
    protocol,
    server,
    sessions,
    values,
    worker,
)
from docker_kernel_server.errors import ProtocolError
from docker_kernel_server.message import Message
from docker_kernel_server.messages import EVENTS, REQUESTS

PAGE = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")
WORDS = {
    "str": "string",
    "int": "integer",
    "bool": "boolean",
    "Number": "number",
    "Json": "object",
    "List[str]": "list of strings",
    "Any": "any",
}
ALL = [
    pytest.param(chapter, cls, id=f"{chapter}-{name}")
    for chapter, register in (("Requests", REQUESTS), ("Events", EVENTS))
    for name, cls in sorted(register.items())
]


def section(title: str, page: str = PAGE) -> str:
    """What stands under a heading, up to the next one of its level."""
    level = title.split()[0]
    _, _, rest = page.partition(f"\n{title}\n")
    assert rest, f"docs/protocol.md has no heading {title!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


def examples(text: str) -> list[dict[str, Any]]:
    blocks: list[str] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return [json.loads(line) for block in blocks for line in block.splitlines()]


def rows(text: str) -> dict[str, tuple[bool, str, str]]:
    """Key -> required, type, default; from a section's table."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\| (\*\*)?`(\w+)`(?:\*\*)? \| ([^|]+) \| ([^|]*)\|", line)
        if match:
            bold, key, kind, default = match.groups()
            found[key] = (bool(bold), kind.strip(), default.strip())
    return found


def expected(field: dataclasses.Field[Any]) -> tuple[bool, str, str]:
    """The row that a field should have."""
    text = str(field.type)
    optional = text.startswith("Optional[")
    kind = WORDS[text[9:-1]] + " or null" if optional else WORDS[text]
    if field.default_factory is not dataclasses.MISSING:
        return False, kind, f"`{json.dumps(field.default_factory())}`"
    if field.default is not dataclasses.MISSING:
        return False, kind, f"`{json.dumps(field.default)}`"
    return True, kind, ""


@pytest.mark.parametrize(("chapter", "cls"), ALL)
def test_every_key_of_every_message_is_in_the_docs(chapter: str, cls: type[Message]) -> None:
    text = section(f"### `{cls.TYPE}`", section(f"## {chapter}"))
    fields = {field.name: expected(field) for field in dataclasses.fields(cls)}
    assert fields.pop("id", (True, "string", "")) == (True, "string", "")
    assert rows(text) == fields


@pytest.mark.parametrize(("chapter", "cls"), ALL)
def test_every_message_has_an_example_that_is_right(chapter: str, cls: type[Message]) -> None:
    text = section(f"### `{cls.TYPE}`", section(f"## {chapter}"))
    (example,) = examples(text)
    read = messages.parse_request if chapter == "Requests" else messages.parse_event
    message = read(example)
    assert isinstance(message, cls)
    assert set(example) <= {"type", *(field.name for field in dataclasses.fields(cls))}


@pytest.mark.parametrize("chapter", ["Requests", "Events"])
def test_the_docs_name_no_type_that_is_not_there(chapter: str) -> None:
    named = re.findall(r"^### `(\w+)`$", section(f"## {chapter}"), re.MULTILINE)
    assert sorted(named) == sorted(REQUESTS if chapter == "Requests" else EVENTS)


def test_the_worked_example_is_right() -> None:
    """P6: with the page's own words for what a proof is."""
    text = section("### A worked example")
    hello, answer, final, auth = examples(text)
    secret = re.findall(r"the secret `(.*?)`", text)[0].encode()
    for role, proof_of in (("server", answer), ("client", auth)):
        lines = section("## The handshake").split("```")[1].strip().split("\n")
        assert lines == ["docker-kernel 1", "ROLE", "CLIENT NONCE", "SERVER NONCE"]
        signed = "\n".join([lines[0], role, hello["nonce"], answer["nonce"]])
        proof = hmac.new(secret, signed.encode(), hashlib.sha256).hexdigest()
        assert proof_of["proof"] == proof
        assert handshake.prove(secret, role, hello["nonce"], answer["nonce"]) == proof
    assert final == {"type": "final", "id": hello["id"], "status": 0}


def test_every_code_is_in_the_docs() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", section("## Errors"), re.MULTILINE)
    assert sorted(documented) == sorted(cls.code for cls in ProtocolError.__subclasses__())


def tree(cls: type[ProtocolError]) -> Iterator[str]:
    yield cls.__name__
    for below in cls.__subclasses__():
        yield from tree(below)


def test_the_error_tree_is_the_modules_docstring() -> None:
    named = re.findall(r"^ *([A-Z]\w+)  ", errors.__doc__ or "", re.MULTILINE)
    assert named == list(tree(ProtocolError))


def test_every_kind_of_value_is_in_the_docs() -> None:
    text = section("## Values")
    documented = re.findall(
        r"`([^`]+)`", " ".join(re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE))
    )
    tags = {**values.plain.UNPACKERS, **values.arrays.UNPACKERS, **values.frames.UNPACKERS}
    assert sorted(documented) == sorted(tags)
    assert f"the {len(values.MAGIC)} bytes `{values.MAGIC.decode().strip()}\\n`" in text
    assert f"nested {values.tree.MAX_DEPTH} deep" in text


def test_the_bounds_are_the_codes() -> None:
    bounds = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", section("## Bounds"), re.MULTILINE))
    mebibyte = 1024 * 1024
    assert bounds["a line, both ways"] == f"{framing.MAX_LINE_BYTES // mebibyte} MiB"
    assert bounds["a raw command"] == f"{protocol.MAX_RAW_COMMAND_BYTES // mebibyte} MiB"
    assert bounds["a line before the handshake is done"] == (
        f"{protocol.MAX_HANDSHAKE_LINE_BYTES // 1024} KiB"
    )
    assert (
        bounds["`id`, `client`, `session` and `subshell`"] == f"{message.MAX_ID_CHARS} characters"
    )
    assert bounds["how deep JSON may be nested"] == f"{framing.MAX_DEPTH} levels"
    many = bounds["objects and lists in a line"]
    assert int(many.replace(" ", "")) == framing.MAX_CONTAINERS
    assert int(bounds["digits of an integer"]) == framing.MAX_DIGITS
    assert int(bounds["connections"]) == server.MAX_CONNECTIONS
    strangers = bounds["connections that have not done the handshake, nor run a raw command"]
    assert int(strangers) == doorway.MAX_STRANGERS
    assert bounds["a secret"] == f"{handshake.MIN_SECRET_BYTES} bytes at least"
    assert int(bounds["clients that said `resume`"]) == clients.MAX_CLIENTS
    unread = bounds["what one of them has not acknowledged, while it is there"]
    assert unread == f"{outgoing.MAX_UNACKNOWLEDGED_BYTES // mebibyte} MiB"
    kept = bounds["what is kept of it, while it is away"]
    assert kept == f"{journal.MAX_JOURNAL_BYTES // mebibyte} MiB"
    assert int(bounds["sessions"]) == sessions.MAX_SESSIONS
    assert int(bounds["subshells of a session"]) == worker.MAX_SUBSHELLS
    waiting = bounds["requests of one client that wait for their `final`"]
    assert int(waiting.replace(" ", "")) == clients.MAX_REQUESTS
    assert int(bounds["those among them that are for files"]) == clients.MAX_FILE_REQUESTS
    assert bounds["a piece of a file"] == f"{messages.MAX_PIECE_BYTES // mebibyte} MiB"
    assert int(bounds["files on their way in"]) == files.MAX_UPLOADS
    idle = bounds["how long one of them waits for its next piece"]
    assert idle == f"{files.UPLOAD_IDLE_SECONDS:.0f} s"
    entries = bounds["entries of a folder in one answer"]
    assert int(entries.replace(" ", "")) == files.MAX_ENTRIES
    assert bounds["the time for the handshake"] == f"{connection.HANDSHAKE_SECONDS:.0f} s"
    assert bounds["`timeout`"].replace(" ", "") == f"0to{message.MAX_SECONDS}seconds"


def test_every_link_leads_to_a_heading() -> None:
    """Headings of the same name get -1, -2 on the page that shows them."""
    anchors: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE):
        name = re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        count = sum(1 for anchor in anchors if re.fullmatch(rf"{name}(-\d+)?", anchor))
        anchors.append(f"{name}-{count}" if count else name)
    for link in re.findall(r"\]\(#(.*?)\)", PAGE):
        assert link in anchors
