import asyncio
import pathlib
import time
from typing import List

import nats
import pytest
from conftest import names, vectors
from nats.js import api

from nextbatch import AsyncClient, Client, _results, _selection


@pytest.fixture
def rounds(client: Client, dataset: str) -> List[str]:
    """Three selections have been made."""
    client.publish_embeddings(dataset, names(30), vectors(30))
    tags = []
    for i in range(3):
        event = client.request_selection(dataset, {"method": "RANDOM", "batch_size": 2, "name": f"round-{i}"})
        tags.append(client.wait_for_selection(event, 120).tag)
    return tags


def test_each_once(client: Client, dataset: str, rounds: List[str]) -> None:
    seen = [s.tag for s in client.selections(dataset, "tool-" + dataset[7:], timeout=3)]
    assert seen == rounds
    assert list(client.selections(dataset, "tool-" + dataset[7:], timeout=3)) == []


def test_what_failed_comes_again(client: Client, dataset: str, rounds: List[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "LEASE", 2.0)
    tool = "tool-" + dataset[7:]
    with pytest.raises(ZeroDivisionError):
        for selection in client.selections(dataset, tool, timeout=10):
            if selection.tag == "round-1":
                raise ZeroDivisionError
    seen = []
    for selection in client.selections(dataset, tool, timeout=6):
        seen.append(selection.tag)
    assert sorted(seen) == ["round-1", "round-2"]


def test_long_body_keeps_its_selection(client: Client, dataset: str, rounds: List[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "LEASE", 2.0)
    tool = "tool-" + dataset[7:]
    mine = client.selections(dataset, tool, timeout=3)
    held = next(mine).tag
    with Client() as other:  # shares the consumer
        assert [s.tag for s in other.selections(dataset, tool, timeout=6)] == [t for t in rounds if t != held]
    assert list(mine) == []
    assert list(client.selections(dataset, tool, timeout=3)) == []


def test_async(client: Client, dataset: str, rounds: List[str]) -> None:
    async def main() -> List[str]:
        async with AsyncClient() as c:
            event = await c.request_selection(dataset, {"method": "RANDOM", "batch_size": 1, "name": "round-3"})
            [last, others] = await asyncio.gather(c.wait_for_selection(event, 120), collect(c))
            assert last.tag == "round-3"
            return others

    async def collect(c: AsyncClient) -> List[str]:
        return [s.tag async for s in c.selections(dataset, "async-" + dataset[7:], timeout=3)]

    assert asyncio.run(main()) == rounds + ["round-3"]


def test_all_datasets_by_a_consumer_of_the_operator(client: Client, dataset: str, rounds: List[str], worker: str) -> None:
    tool = "operator-" + dataset[7:]

    async def operator() -> None:  # makes it as deploy/nats/streams/al-annotation.json says
        nc = await nats.connect(worker)
        config = api.ConsumerConfig(durable_name=tool, ack_policy=api.AckPolicy.EXPLICIT, filter_subjects=["al.v1.out.selection.created.>"])
        await nc.jetstream().add_consumer("AL", config)
        await nc.close()

    asyncio.run(operator())
    seen = [s.tag for s in client.selections(None, tool, timeout=3) if s.dataset == dataset]
    assert seen == rounds


def test_name_of_a_consumer_is_taken(client: Client, dataset: str, rounds: List[str]) -> None:
    tool = "tool-" + dataset[7:]
    assert len(list(client.selections(dataset, tool, timeout=3))) == 3
    with pytest.raises(ValueError, match="is there already"):
        next(client.selections("another", tool))


def test_wait_comes_late(client: Client, dataset: str) -> None:
    client.publish_embeddings(dataset, names(5), vectors(5))
    event = client.request_selection(dataset, {"batch_size": 1})
    time.sleep(1)
    assert client.wait_for_selection(event, 120).event["id"] == client.wait_for_selection(event.id, 120).id


def test_large(client: Client, dataset: str) -> None:
    files = [f"{i:06d}.jpg" for i in range(20_000)]
    client.publish_embeddings(dataset, files, vectors(20_000, 2))
    batch = client.wait_for_selection(client.request_selection(dataset, {"method": "RANDOM", "batch_size": 20_000}), 120)
    assert batch.event["dataref"].startswith("file://") and "added" not in batch.event["data"]
    assert sorted(batch.filenames) == batch.selected == files and batch.filenames != files
    assert [s.filenames for s in client.selections(dataset, "large-" + dataset[7:], timeout=3)] == [batch.filenames]

    other = dict(batch.event, datarefdigest="sha-256:" + "0" * 64)
    with pytest.raises(ValueError, match="are not those of selection"):
        asyncio.run(_selection.selection(other))
    with pytest.raises(ValueError, match="are not those of selection"):  # more bytes than were announced
        asyncio.run(_selection.selection(dict(batch.event, datarefsize="100")))
    with pytest.raises(OSError, match="AL_PUBLIC_URL"):
        asyncio.run(_selection.selection(dict(batch.event, dataref="file:///nowhere")))


def test_wait_for_labels(client: Client, dataset: str) -> None:
    client.publish_embeddings(dataset, names(30), vectors(30))
    first, second = (
        client.wait_for_selection(client.request_selection(dataset, {"method": "RANDOM", "batch_size": 3, "name": name}), 120)
        for name in ("round-1", "round-2")
    )
    client.publish_labels(dataset, labeled=second.filenames[:2], tag=second.tag)
    with pytest.raises(TimeoutError, match="2 are labeled, 0 skipped, 1 pending"):
        client.wait_for_labels(second, 6)
    with pytest.raises(TimeoutError, match="no label has come"):
        client.wait_for_labels(first, 1)
    client.publish_labels(dataset, skipped=second.filenames[2:], tag=second.tag)
    done = client.wait_for_labels(second, 120)  # whatever is pending of the batch before it
    assert (done.labeled, done.pending, done.skipped, done.complete) == (2, 0, 1, True)
    client.publish_labels(dataset, unlabeled=second.filenames[:1], tag=second.tag)
    client.publish_labels(dataset, labeled=first.filenames, tag=first.tag)
    assert client.wait_for_labels(first, 120).labeled == 3
    with pytest.raises(TimeoutError, match="1 are labeled, 1 skipped, 1 pending"):
        client.wait_for_labels(second, 6)


def test_wait_for_labels_outlives_its_consumer(client: Client, dataset: str) -> None:
    client.publish_embeddings(dataset, names(30), vectors(30))
    batch = client.wait_for_selection(client.request_selection(dataset, {"method": "RANDOM", "batch_size": 2}), 120)

    async def main() -> int:
        async with AsyncClient() as c:
            waiting = asyncio.ensure_future(c.wait_for_labels(batch, 120))
            js = (await nats.connect(pathlib.Path("nextbatch-data/nats/nats.url").read_text().strip())).jetstream()
            mine: List[str] = []
            while not mine:
                await asyncio.sleep(0.05)
                mine = [str(i.name) for i in await js.consumers_info("AL") if (i.config.filter_subject or "").endswith(dataset.replace(" ", "=20"))]
            for name in mine:
                await js.delete_consumer("AL", name)
            await c.publish_labels(dataset, labeled=batch.filenames, tag=batch.tag)
            return (await waiting).labeled

    assert asyncio.run(main()) == 2
