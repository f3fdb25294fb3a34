"""The messages check themselves (P3), survive the journey whole (P2), and agree with the docs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_kernel_server import message, messages
from docker_kernel_server.errors import BadMessage, ProtocolError, UnknownType
from docker_kernel_server.framing import load_line
from docker_kernel_server.message import Message
from docker_kernel_server.messages import EVENTS, REQUESTS
from strategies import json_objects, json_values, quick, text

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": text,
    "int": st.integers(),
    "bool": st.booleans(),
    "Number": st.integers(0, 10**9) | st.floats(0, 10**9),
    "Json": json_objects,
    "List[str]": st.lists(text, max_size=3),
    "Any": json_values,
}
CLASSES = [*REQUESTS.values(), *EVENTS.values()]
by_name = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__name__))


def values_for(cls: type[Message]) -> st.SearchStrategy[dict[str, Any]]:
    """Right values for each field of a message class; optional ones may be left out."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in dataclasses.fields(cls):
        kind = str(field.type)
        value = VALUES[kind.removeprefix("Optional[").removesuffix("]" if "Opt" in kind else "")]
        has_default = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if field.name == "id" and cls in REQUESTS.values():
            value = value.filter(bool)
        if field.name in ("received", "lines", "bytes"):
            value = st.integers(0)
        if field.name == "stream":
            value = st.sampled_from(message.STREAMS)
        (optional if has_default else required)[field.name] = value
    return st.fixed_dictionaries(required, optional=optional)


def parse(cls: type[Message], data: dict[str, Any]) -> Message:
    """As the receiving side does it."""
    if cls in REQUESTS.values():
        return messages.parse_request(data)
    return messages.parse_event(data)


@settings(quick, max_examples=400)
@given(st.sampled_from(CLASSES), st.data())
def test_every_message_survives_the_journey(cls: type[Message], data: st.DataObject) -> None:
    """P2"""
    message = cls(**data.draw(values_for(cls)))
    line = messages.encode(message)
    assert line.count(b"\n") == 1
    assert parse(cls, load_line(line)) == message


@settings(quick, max_examples=400)
@given(st.sampled_from(CLASSES), st.data(), json_values)
def test_any_value_is_taken_or_refused_by_name(
    cls: type[Message], data: st.DataObject, value: object
) -> None:
    """P3: whatever stands under a key, it's a message or a BadMessage that names the key."""
    values = data.draw(values_for(cls))
    key = data.draw(st.sampled_from([field.name for field in dataclasses.fields(cls)]))
    fault = f"{cls.TYPE}: '{key}'"
    try:
        parse(cls, {**values, "type": cls.TYPE, key: value})
    except BadMessage as exc:
        fault = str(exc)
    assert fault.startswith(f"{cls.TYPE}: '{key}'")


@by_name
def test_each_key_that_is_missing_is_named(cls: type[Message]) -> None:
    """P3"""
    required = [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    with pytest.raises(BadMessage) as caught:
        parse(cls, {"type": cls.TYPE})
    assert str(caught.value) == f"{cls.TYPE}: missing {', '.join(required)}"


@quick
@given(json_objects)
def test_any_object_is_a_message_or_a_named_fault(data: dict[str, Any]) -> None:
    """P3"""
    for read in (messages.parse_request, messages.parse_event):
        with pytest.raises(ProtocolError):
            read(data)


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        ({}, BadMessage, "no 'type'"),
        ({"type": 7}, BadMessage, "no 'type'"),
        ({"type": "fly", "id": "1"}, UnknownType, "unknown type 'fly'"),
        ({"type": "x" * 10_000}, UnknownType, "unknown type 'x+'$"),
        ({"type": "status", "id": 5}, BadMessage, "status: 'id' must be str, not int"),
        ({"type": "status", "id": "x" * 201}, BadMessage, "'id' is longer than 200 characters"),
        ({"type": "status", "id": ""}, BadMessage, "status: 'id' must not be empty"),
        ({"type": "status", "id": None}, BadMessage, "'id' must be str, not NoneType"),
        (
            {"type": "open_session", "id": "1", "session": "x" * 201},
            BadMessage,
            "'session' is longer than 200 characters",
        ),
        (
            {"type": "hello", "id": "1", "protocol": True, "nonce": ""},
            BadMessage,
            "'protocol' must be int, not bool",
        ),
        (
            {"type": "run", "id": "1", "command": "ls", "timeout": "5"},
            BadMessage,
            "'timeout' must be int or float, not str",
        ),
        ({"type": "run", "id": "1", "command": "", "timeout": -1}, BadMessage, "0 to 1000000000"),
        (
            {"type": "run", "id": "1", "command": "", "timeout": 10**400},
            BadMessage,
            "'timeout' must be 0 to 1000000000 seconds",
        ),
        (
            {"type": "comm_msg", "id": "1", "session": "s", "comm_id": "c", "buffers": [1]},
            BadMessage,
            "'buffers' must be a list of str",
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_wrong_with_a_request_is_named(
    data: dict[str, Any], error: type[ProtocolError], says: str
) -> None:
    """P3"""
    with pytest.raises(error, match=says):
        messages.parse_request(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"type": "chunk", "id": "", "data": "", "stream": "stdin"}, "stdout, stderr"),
        ({"type": "gap", "id": "", "lines": -1, "bytes": 0}, "'lines' must not be below 0"),
        ({"type": "gap", "id": "", "lines": 1, "bytes": -1}, "'bytes' must not be below 0"),
        ({"type": "final", "id": "x" * 201, "status": 0}, "'id' is longer than 200"),
        ({"type": "display", "id": "", "data": []}, "'data' must be dict, not list"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_wrong_with_an_event_is_named(data: dict[str, Any], says: str) -> None:
    """P3: a server isn't believed either."""
    with pytest.raises(BadMessage, match=says):
        messages.parse_event(data)


def test_an_error_stays_short() -> None:
    """P3: what a stranger sends isn't echoed at length."""
    with pytest.raises(UnknownType) as caught:
        messages.parse_request({"type": "x" * 1_000_000})
    assert len(str(caught.value)) < 300


def test_keys_that_are_not_known_are_ignored() -> None:
    """P5: either end may be newer."""
    request = messages.parse_request({"type": "status", "id": "1", "colour": "blue"})
    assert request == messages.Status("1")


def test_defaults_are_left_out() -> None:
    """As docs/protocol.md says; the type and the id always stand."""
    assert messages.encode(messages.Chunk("7", "hi\n")) == (
        b'{"type":"chunk","id":"7","data":"hi\\n"}\n'
    )
    assert messages.encode(messages.Final("7", 0)) == b'{"type":"final","id":"7","status":0}\n'


def test_messages_stay_as_they_were_made() -> None:
    message = messages.Chunk("7", "hi")
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.data = "ho"  # type: ignore[misc]


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}, b"bytes"])
def test_a_value_that_is_not_json_is_named(value: object) -> None:
    """P3"""
    with pytest.raises(BadMessage, match=r"^final: "):
        messages.encode(messages.Final("7", 0, result=value))


def test_a_value_that_holds_itself_is_named() -> None:
    """P3"""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(BadMessage, match=r"^final: "):
        messages.encode(messages.Final("7", 0, result=loop))


@quick
@given(st.lists(st.binary(max_size=50), max_size=4))
def test_buffers_survive_the_journey(buffers: list[bytes]) -> None:
    """K7"""
    assert messages.unpack_buffers(messages.pack_buffers(buffers)) == buffers


@pytest.mark.parametrize("value", ["a", "@@@@", "é", "YQ", "\ud800"])
def test_a_buffer_that_is_not_base64_is_named(value: str) -> None:
    """P3"""
    with pytest.raises(BadMessage, match="not base64"):
        messages.unpack_buffers([value])
