"""Results of the worker: the one of an event, and all of a dataset."""

import asyncio
import time
from typing import Any, AsyncGenerator, Awaitable, Callable, Dict, Optional

from nats.aio.msg import Msg
from nats.errors import Error as NATSError
from nats.errors import TimeoutError as NATSTimeout
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from . import _events
from ._selection import Batch, Selection, SelectionFailed, selection

LEASE = 30.0  # seconds that a selection is held without a sign of life


async def outcome(js: JetStreamContext, source: str, id: str, dataset: Optional[str], timeout: float) -> Selection:
    """The selection whose cause is the event. A failure counts only if nothing
    came after it: the event may have been replayed."""
    name = "*" if dataset is None else _events.token(dataset)
    config = api.ConsumerConfig(ack_policy=api.AckPolicy.NONE, inactive_threshold=60)
    results = await js.pull_subscribe(f"{_events.OUT}.selection.*.{name}", stream=_events.STREAM, config=config)
    deadline = time.monotonic() + timeout
    failed: Optional[Dict[str, Any]] = None
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no selection came of event {id} within {timeout:g} s; is a worker running, and did the event ask for one?")
            try:
                [msg] = await results.fetch(1, timeout=min(left, 5))
            except NATSTimeout:
                continue
            event = _events.decode(msg.headers, msg.data)
            cause = event["data"]["cause"]
            if (cause["source"], cause["id"]) == (source, id):
                if event["type"] == "selection.created":
                    return await selection(event)
                failed = event
            if failed is not None and msg.metadata.num_pending == 0:
                raise SelectionFailed(failed)
    finally:
        await results.unsubscribe()


async def finished(js: JetStreamContext, dataset: str, tag: str, timeout: float) -> Batch:
    """The batch of a tag, once the newest word on it is that it is complete."""
    subject = f"{_events.OUT}.labelset.updated.{_events.token(dataset)}"
    config = api.ConsumerConfig(ack_policy=api.AckPolicy.NONE, inactive_threshold=60)
    results = await js.pull_subscribe(subject, stream=_events.STREAM, config=config)
    deadline = time.monotonic() + timeout
    batch: Optional[Batch] = None
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                so_far = "no label has come" if batch is None else f"{batch.labeled} are labeled, {batch.skipped} skipped, {batch.pending} pending"
                raise TimeoutError(f"batch {tag!r} of {dataset!r} was not finished within {timeout:g} s: {so_far}")
            try:
                [msg] = await results.fetch(1, timeout=min(left, 5))
            except NATSTimeout:
                if await _forgotten(results):  # the server was away, or we were: read it all again
                    results = await js.pull_subscribe(subject, stream=_events.STREAM, config=config)
                continue
            data = _events.decode(msg.headers, msg.data)["data"]
            if data.get("tag") == tag and "batch" in data:
                batch = Batch(dataset, tag, **data["batch"])
            if batch is not None and batch.complete and msg.metadata.num_pending == 0:
                return batch
    finally:
        await results.unsubscribe()


async def _forgotten(results: JetStreamContext.PullSubscription) -> bool:
    """Whether the server has dropped the consumer."""
    try:
        await results.consumer_info()
    except NotFoundError:
        return True
    except (NATSError, OSError):  # nothing is known while it is away
        pass
    return False


async def follow(
    connect: Callable[[], Awaitable[JetStreamContext]], dataset: Optional[str], durable: str, timeout: Optional[float]
) -> AsyncGenerator[Selection, None]:
    """The selections of a dataset, or of all, by a durable consumer, which is
    created where it is missing."""
    js = await connect()
    subject = f"{_events.OUT}.selection.created.{'>' if dataset is None else _events.token(dataset)}"
    await _ensure(js, durable, subject)
    results = await js.pull_subscribe_bind(durable, stream=_events.STREAM)
    last = time.monotonic()
    try:
        while True:
            left = LEASE if timeout is None else last + timeout - time.monotonic()
            if left <= 0:
                return
            try:
                [msg] = await results.fetch(1, timeout=min(left, LEASE))
            except NATSTimeout:
                continue
            beat = asyncio.ensure_future(_hold(msg))
            try:
                yield await selection(_events.decode(msg.headers, msg.data))
            finally:
                beat.cancel()
            await msg.ack_sync()
            last = time.monotonic()
    finally:
        await results.unsubscribe()


async def _ensure(js: JetStreamContext, durable: str, subject: str) -> None:
    """Creates the durable consumer, or checks that the one that is there is
    about this dataset."""
    try:
        there = (await js.consumer_info(_events.STREAM, durable)).config
    except NotFoundError:
        config = api.ConsumerConfig(
            durable_name=durable, filter_subject=subject, ack_policy=api.AckPolicy.EXPLICIT, ack_wait=LEASE, max_ack_pending=1000
        )
        await js.add_consumer(_events.STREAM, config)
        return
    about = there.filter_subjects or [there.filter_subject]
    if about != [subject]:
        raise ValueError(f"the durable consumer {durable!r} is there already, about {about} and not {subject}; give another name")


async def _hold(msg: Msg) -> None:
    """Keeps the message from going to another program while the body runs."""
    while True:
        await asyncio.sleep(LEASE / 3)
        await msg.in_progress()
