"""Ranks are processes here, as they are in a training job."""

import subprocess
import sys
import time

import pytest
from conftest import Stream, names, probabilities, vectors

from nextbatch import BadInput, Client
from nextbatch._rows import Rows, join

RANK = """
import os, sys
from conftest import names, probabilities
from nextbatch import Client

dataset, rank, die = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if die == "before":
    os._exit(9)
files, probs = names(100), probabilities(100)
mine = list(range(rank, 100, 3)) + [0]  # like a sampler that fills up: 0 is everywhere
if rank == 0:
    mine.pop()
with Client() as c:
    event = c.publish_predictions(dataset, "classification", [files[i] for i in mine], probs[mine],
        selection={"method": "ACTIVE_LEARNING", "batch_size": 100}, run="run-1/epoch-1", shard=(rank, 3), timeout=120)
    print(event.id)
    if die == "after":
        sys.stdout.flush()
        os._exit(9)
"""


def rank(dataset: str, n: int, die: str = "") -> "subprocess.Popen[str]":
    here = __file__.rsplit("/", 1)[0]
    code = f"import sys; sys.path.insert(0, {here!r})\n" + RANK
    return subprocess.Popen([sys.executable, "-c", code, dataset, str(n), die], stdout=subprocess.PIPE, text=True)


def done(process: "subprocess.Popen[str]") -> str:
    out, _ = process.communicate(timeout=150)
    assert process.returncode == 0
    return out.strip()


def test_three_ranks(client: Client, dataset: str, stream: Stream) -> None:
    files, probs = names(100), probabilities(100)
    client.publish_embeddings(dataset, files, vectors(100))
    zero, one, two = rank(dataset, 0), rank(dataset, 1, "before"), rank(dataset, 2, "after")
    assert one.wait(120) == 9 and two.wait(120) == 9
    time.sleep(0.5)
    assert zero.poll() is None and len(stream.sent(dataset)) == 1  # it waits for rank 1
    assert done(rank(dataset, 1)) == ""
    event = done(zero)

    # Ranks are retried, alone and together: nothing more is sent.
    assert done(rank(dataset, 2)) == ""
    assert done(rank(dataset, 0)) == event
    again = [rank(dataset, n) for n in range(3)]
    assert [done(p) for p in again] == [event, "", ""]
    assert len(stream.sent(dataset)) == 2 and len(stream.selections(dataset)) == 1

    batch = client.wait_for_selection(event, 120)
    whole = client.publish_predictions(dataset, "classification", files, probs)
    top = probs.copy()
    top.sort(axis=1)
    margin = dict(zip(files, 1 - (top[:, -1] - top[:, -2])))
    assert sorted(batch.filenames) == sorted(files) and whole.id != event
    assert batch.scores == pytest.approx([margin[f] for f in batch.filenames])


def test_a_rank_is_missing(client: Client, dataset: str, stream: Stream) -> None:
    with pytest.raises(TimeoutError, match="the shard of rank 1 of 2 did not come"):
        client.publish_embeddings(dataset, names(2), vectors(2), run="r", shard=(0, 2), timeout=0.5)
    assert stream.sent(dataset) == []


@pytest.mark.parametrize("folder", [None, "nextbatch-data/files/ranks"])
def test_objects_and_folders(dataset: str, folder: str, stream: Stream) -> None:
    files = names(4)
    rows = [{"probabilities": p} for p in probabilities(4)]
    with Client(folder=folder) as c:
        c.publish_embeddings(dataset, files, vectors(4))
        other = c.publish_predictions(dataset, "classification", files[:2], rows[:2], run="r", shard=(1, 2))
        event = c.publish_predictions(dataset, "classification", files[2:], rows[2:], selection={"batch_size": 4}, run="r", shard=(0, 2))
        assert sorted(c.wait_for_selection(event, 120).filenames) == files
        with pytest.raises(ValueError, match="wait on rank 0"):
            c.wait_for_selection(other)


def test_bad_shards(client: Client, dataset: str) -> None:
    with pytest.raises(ValueError, match="want .rank, world."):
        client.publish_embeddings(dataset, names(2), vectors(2), run="r", shard=(2, 2))
    with pytest.raises(ValueError, match="shards need run="):
        client.publish_embeddings(dataset, names(2), vectors(2), shard=(0, 2))
    client.publish_embeddings(dataset, names(2), vectors(2, 3), run="r", shard=(1, 2))
    with pytest.raises(BadInput, match=r"rows of unequal length: \[3, 8\]"):
        client.publish_embeddings(dataset, ["a.jpg"], vectors(1), run="r", shard=(0, 2))


def test_lowest_rank_counts() -> None:
    joined = join([Rows(["b", "a"], "e", vectors(2, seed=1)), Rows(["c", "a"], "e", vectors(2, seed=2))])
    assert joined.filenames == ["b", "a", "c"] and joined.array is not None
    assert joined.array.tolist() == [*vectors(2, seed=1).tolist(), vectors(2, seed=2)[0].tolist()]
