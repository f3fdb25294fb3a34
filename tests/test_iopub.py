"""Messages to the iopub channel, as a subscriber gets them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import zmq
from ipykernel.iostream import IOPubThread
from jupyter_client.session import Session

from docker_kernel import outputs
from docker_kernel.iopub import IOPub

PARENT = {"header": {"msg_id": "a cell"}}
OTHER = {"header": {"msg_id": "another cell"}}


@dataclass
class Channel:
    """Both ends."""

    iopub: IOPub
    session: Session
    subscriber: zmq.Socket[bytes]

    def next(self) -> tuple[str, Any, str]:
        """Type, text or content, and the cell of the next message."""
        assert self.subscriber.poll(30_000)
        _, message = self.session.recv(self.subscriber)
        assert message is not None
        content = message["content"]
        parent = message["parent_header"]["msg_id"]
        return message["msg_type"], content.get("text", content), parent


@pytest.fixture
def channel() -> Iterator[Channel]:
    session = Session(key=b"a key")
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.bind("inproc://iopub")
        with context.socket(zmq.SUB) as subscriber:
            subscriber.subscribe(b"")
            subscriber.connect("inproc://iopub")
            thread = IOPubThread(publisher)  # type: ignore[no-untyped-call]
            thread.start()  # type: ignore[no-untyped-call]
            iopub = IOPub(session, thread, "kernel")
            yield Channel(iopub, session, subscriber)
            iopub.close()
            end(thread)


def end(thread: IOPubThread) -> None:
    """`stop` leaves a task behind, of which Python says at its end that it was destroyed."""

    async def end_tasks() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    loop = thread.io_loop.asyncio_loop  # type: ignore[attr-defined]
    asyncio.run_coroutine_threadsafe(end_tasks(), loop).result(30)
    thread.stop()  # type: ignore[no-untyped-call]
    thread.close()  # type: ignore[no-untyped-call]


def test_text_that_follows_closely_is_one_message(channel: Channel) -> None:
    """The first piece as well: a program that runs a notebook would keep it as another output."""
    with channel.iopub._changed:  # however slow this machine is, nothing is sent in between
        for text in ("a", "b", "c"):
            channel.iopub.publish(outputs.stream("stdout", text), PARENT)
    assert channel.next() == ("stream", "abc", "a cell")


def test_text_is_sent_without_waiting_for_more(channel: Channel) -> None:
    """O2"""
    for text in ("first", "second"):
        channel.iopub.publish(outputs.stream("stdout", text), PARENT)
        assert channel.next() == ("stream", text, "a cell")


def test_what_is_not_joined(channel: Channel) -> None:
    """O1"""
    with channel.iopub._changed:
        for name, text, parent in [
            ("stdout", "a", PARENT),
            ("stderr", "b", PARENT),
            ("stderr", "c", OTHER),
        ]:
            channel.iopub.publish(outputs.stream(name, text), parent)
        channel.iopub.publish(outputs.Output("clear_output", {"wait": False}), OTHER)
        channel.iopub.publish(outputs.stream("stderr", "d"), OTHER)
    assert channel.next() == ("stream", "a", "a cell")
    assert channel.next() == ("stream", "b", "a cell")
    assert channel.next() == ("stream", "c", "another cell")
    assert channel.next() == ("clear_output", {"wait": False}, "another cell")
    assert channel.next() == ("stream", "d", "another cell")


def test_what_is_announced_comes_first(channel: Channel) -> None:
    """O1: also where the cell prints before it is sent; and it isn't sent twice."""
    busy = outputs.Output("status", {"execution_state": "busy"})
    channel.iopub.announce(busy, PARENT)
    channel.iopub.announce(outputs.Output("execute_input", {"code": "1"}), PARENT)
    channel.iopub.publish(outputs.stream("stdout", "a"), PARENT)
    channel.iopub.send_announced()
    assert channel.next() == ("status", {"execution_state": "busy"}, "a cell")
    assert channel.next() == ("execute_input", {"code": "1"}, "a cell")
    assert channel.next() == ("stream", "a", "a cell")
    channel.iopub.announce(busy, OTHER)
    channel.iopub.send_announced()
    assert channel.next() == ("status", {"execution_state": "busy"}, "another cell")


def test_an_announcement_that_cannot_be_sent_keeps_no_other_back(channel: Channel) -> None:
    """O1: some client's idea of a cell's code."""
    channel.iopub.announce(outputs.Output("execute_input", {"code": float("nan")}), PARENT)
    with pytest.raises(ValueError, match="JSON"):
        channel.iopub.send_announced()
    channel.iopub.publish(outputs.stream("stdout", "a"), OTHER)
    assert channel.next() == ("stream", "a", "another cell")


def test_lone_surrogates(channel: Channel) -> None:
    """O1: which UTF-8 can't write, in a text by itself and in one that is joined."""
    for texts in (["a\ud800"], ["b", "c\ud800"], ["d\ud800", "e"]):
        with channel.iopub._changed:
            for text in texts:
                channel.iopub.publish(outputs.stream("stdout", text), PARENT)
            channel.iopub.flush()
    assert [channel.next()[1] for _ in range(3)] == ["a\ufffd", "bc\ufffd", "d\ufffde"]


def test_flush_sends_at_once(channel: Channel) -> None:
    with channel.iopub._changed:
        channel.iopub.publish(outputs.stream("stdout", "a"), PARENT)
        channel.iopub.flush()
        channel.iopub.publish(outputs.stream("stdout", "b"), PARENT)
    assert [channel.next()[1], channel.next()[1]] == ["a", "b"]


def test_settled_is_what_has_left(channel: Channel) -> None:
    """O1: a reply that is sent after it overtakes no output."""
    go, settled = threading.Event(), threading.Event()

    def settle() -> None:
        channel.iopub.settle()
        settled.set()

    channel.iopub._thread.schedule(go.wait)  # type: ignore[no-untyped-call]
    channel.iopub.publish(outputs.Output("clear_output", {"wait": False}), PARENT)
    waiting = threading.Thread(target=settle)
    waiting.start()
    assert not channel.subscriber.poll(0)
    assert not settled.is_set()
    go.set()
    waiting.join()
    assert channel.subscriber.poll(0)


def test_the_end_loses_nothing(channel: Channel) -> None:
    channel.iopub.publish(outputs.stream("stdout", "last"), PARENT)
    channel.iopub.close()
    assert channel.next() == ("stream", "last", "a cell")
