"""Wire events become the messages that ipykernel would send."""

from __future__ import annotations

import base64

import pytest

from docker_kernel import outputs
from docker_kernel.errors import ImageNotFound
from docker_kernel.outputs import Output
from docker_kernel_server import messages as wire

BUNDLE = {"text/plain": "<Figure>", "image/png": "iVBORw0KGgo="}
META = {"image/png": {"width": 10}}


@pytest.mark.parametrize(
    ("event", "output"),
    [
        (wire.Chunk("1", "hi\n"), Output("stream", {"name": "stdout", "text": "hi\n"})),
        (wire.Chunk("1", "no", "stderr"), Output("stream", {"name": "stderr", "text": "no"})),
        (
            wire.Result("1", BUNDLE, 3, META),
            Output("execute_result", {"data": BUNDLE, "metadata": META, "execution_count": 3}),
        ),
        (
            wire.Display("1", BUNDLE, META, {"display_id": "d"}),
            Output(
                "display_data",
                {"data": BUNDLE, "metadata": META, "transient": {"display_id": "d"}},
            ),
        ),
        (
            wire.UpdateDisplay("1", BUNDLE, {}, {"display_id": "d"}),
            Output(
                "update_display_data",
                {"data": BUNDLE, "metadata": {}, "transient": {"display_id": "d"}},
            ),
        ),
        (wire.ClearOutput("1", True), Output("clear_output", {"wait": True})),
        (
            wire.Error("1", "ValueError", "x", ["a", "b"]),
            Output("error", {"ename": "ValueError", "evalue": "x", "traceback": ["a", "b"]}),
        ),
        (wire.InputRequest("1", "? "), None),
        (wire.Fault("", "bad_line", "x"), None),
        (wire.Final("1", 0), None),
    ],
)
def test_output_of(event: wire.Event, output: Output | None) -> None:
    assert outputs.output_of(event) == output


def test_comms_carry_their_buffers() -> None:
    packed = [base64.b64encode(b"\0\1\xff").decode()]
    opened = outputs.output_of(
        wire.CommOpen("1", "c", {"a": 1}, {"version": "2.1"}, packed, "jupyter.widget")
    )
    assert opened == Output(
        "comm_open",
        {"comm_id": "c", "data": {"a": 1}, "target_name": "jupyter.widget", "target_module": None},
        {"version": "2.1"},
        [b"\0\1\xff"],
    )
    said = outputs.output_of(wire.CommMsg("1", "c", {"a": 2}))
    assert said == Output("comm_msg", {"comm_id": "c", "data": {"a": 2}})
    closed = outputs.output_of(wire.CommClose("1", "c"))
    assert closed == Output("comm_close", {"comm_id": "c", "data": {}})


@pytest.mark.parametrize("reason", ["ok", "error", "interrupt"])
def test_finals_with_a_reply_have_no_error_of_their_own(reason: str) -> None:
    assert outputs.error_of_final(wire.Final("1", 0, reason, {"status": "ok"})) is None


@pytest.mark.parametrize(
    ("final", "ename", "words"),
    [
        (wire.Final("1", 137, "died", {"detail": "killed by SIGKILL"}), "SessionDied", "SIGKILL"),
        (wire.Final("1", 137, "died"), "SessionDied", "ended"),
        (wire.Final("1", 124, "timeout"), "TimeoutError", "time"),
        (wire.Final("1", 1, "closed"), "SandboxClosed", "stopped"),
        (wire.Final("1", 1, "refused", "no such session", "refused"), "RequestRefused", "no such"),
    ],
)
def test_finals_without_a_reply(final: wire.Final, ename: str, words: str) -> None:
    output = outputs.error_of_final(final)
    assert output is not None
    assert output.content["ename"] == ename
    assert words in output.content["traceback"][0]
    assert ("ariables were reset" in output.content["traceback"][0]) == (final.reason == "died")


def test_an_error_of_ours_has_its_remedy_and_no_host_traceback() -> None:
    exc = ImageNotFound("there is no image x", "the registry has none", "name another image")
    output = outputs.error_of_exception(exc)
    assert output.content["ename"] == "ImageNotFound"
    assert output.content["traceback"] == [str(exc)]
    assert "name another image" in output.content["traceback"][0]
    reply = outputs.reply_of_error(output, 4)
    assert reply["status"] == "error"
    assert reply["execution_count"] == 4


def test_another_error_is_told_by_name() -> None:
    output = outputs.error_of_exception(OSError("disk full"))
    assert output.content["traceback"] == ["OSError: disk full"]


@pytest.mark.parametrize(
    ("mime", "data", "line"),
    [
        ("image/png", base64.b64encode(b"x" * 5000).decode(), "[image/png, 5000 bytes]"),
        ("image/png", base64.b64encode(b"x" * 5001).decode() + "\n", "[image/png, 5001 bytes]"),
        ("image/svg+xml", "<svg/>", "[image/svg+xml, 6 bytes]"),
        ("text/html", "é" * 20_000, "[text/html, 40 kB]"),
        ("video/mp4", "A" * 16_000_000, "[video/mp4, 12 MB]"),
    ],
)
def test_describe_data(mime: str, data: str, line: str) -> None:
    assert outputs.describe_data(mime, data) == line
