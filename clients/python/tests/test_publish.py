import asyncio
import hashlib
import os
import pathlib

import numpy as np
import pytest
from conftest import Stream, names, probabilities, vectors

from nextbatch import AsyncClient, BadInput, Client, SelectionFailed


def test_round(client: Client, dataset: str, stream: Stream) -> None:
    files, probs = names(200), probabilities(200)
    client.publish_embeddings(dataset, files, vectors(200))
    event = client.publish_predictions(
        dataset, "classification", files, probs, model={"name": "resnet18", "metrics": {"accuracy": np.float32(0.5)}}, selection={"batch_size": 10, "name": "first"}
    )
    batch = client.wait_for_selection(event, 120)
    top = np.sort(probs, axis=1)
    margin = dict(zip(files, 1 - (top[:, -1] - top[:, -2])))
    assert len(set(batch.filenames)) == 10 and batch.tag == "first" and batch.method == "UHERDING" and batch.dataset == dataset
    assert batch.scores == pytest.approx([margin[f] for f in batch.filenames])
    assert [a.rank for a in batch.added] == list(range(1, 11)) and batch.selected == sorted(batch.filenames)
    assert batch.event["data"]["model"] == {"name": "resnet18", "metrics": {"accuracy": 0.5}}

    client.publish_labels(dataset, labeled=batch.filenames[:9], skipped=batch.filenames[9:], tag="first")
    second = client.wait_for_selection(client.request_selection(dataset, {"batch_size": 5}), 120)
    assert not set(second.filenames) & set(batch.filenames) and len(second.selected) == 14  # the skipped one is not in it


def test_retry_publishes_once(dataset: str, stream: Stream) -> None:
    files, probs = names(50), probabilities(50)

    def job() -> str:
        with Client(source="/training/run-7") as c:
            c.publish_embeddings(dataset, files, vectors(50), run="run-7")
            return c.publish_predictions(dataset, "classification", files, probs, selection={"batch_size": 3}, run="run-7/1").id

    first = job()
    objects = stream.objects()
    assert job() == first and stream.objects() == objects
    sent = stream.sent(dataset)
    assert [e["type"] for e in sent] == ["embeddings.ready", "predictions.ready"]
    for event, field in zip(sent, ("embeddings", "predictions")):
        reference = event["data"][field]
        assert reference["uri"] == f"nats://al-data/{reference['sha256']}.npz" and reference["size"] > 0
    probs[0] = probs[1]
    assert job() != first and len(stream.sent(dataset)) == 3


def test_same_id_wherever_the_array_lies(client: Client, dataset: str, stream: Stream) -> None:
    folder = pathlib.Path("nextbatch-data/files", dataset)
    with Client(folder=str(folder)) as other:
        event = other.publish_embeddings(dataset, names(20), vectors(20), selection={"method": "CORESET", "batch_size": 2})
        assert len(other.wait_for_selection(event, 120).filenames) == 2
    [sent] = stream.sent(dataset)
    path = folder / (sent["data"]["embeddings"]["sha256"] + ".npz")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem and os.stat(path).st_mode & 0o777 == 0o644
    assert [p.name for p in folder.iterdir()] == [path.name]
    assert client.publish_embeddings(dataset, names(20), vectors(20), selection={"method": "CORESET", "batch_size": 2}).id == event.id


def test_labels_are_said_again(client: Client, dataset: str, stream: Stream) -> None:
    client.publish_embeddings(dataset, names(3), vectors(3))
    for _ in range(2):
        client.publish_labels(dataset, labeled=names(1))
        client.publish_labels(dataset, unlabeled=names(1))
    assert len(stream.sent(dataset)) == 5
    once = [client.publish_labels(dataset, labeled=names(1), run="task-1") for _ in range(2)]
    assert once[0].id == once[1].id and once[1].duplicate and len(stream.sent(dataset)) == 6


@pytest.mark.parametrize("as_logits", [False, True])
def test_logits(client: Client, dataset: str, as_logits: bool) -> None:
    files, probs = names(40), probabilities(40).astype("float32")
    client.publish_embeddings(dataset, files, vectors(40))
    rows, normalization = (np.log(probs) + 3, "softmax") if as_logits else (probs * 7, "sum")
    event = client.publish_predictions(dataset, "classification", files, rows, normalization=normalization, selection={"method": "ACTIVE_LEARNING", "batch_size": 40})
    batch = client.wait_for_selection(event, 120)
    top = np.sort(probs, axis=1)
    margin = dict(zip(files, 1 - (top[:, -1] - top[:, -2])))
    assert batch.scores == pytest.approx([margin[f] for f in batch.filenames], abs=1e-5)


BOX = [0.1, 0.1, 0.4, 0.5]
TASKS = {
    "object_detection": [{"boxes": np.array([BOX, BOX]), "scores": np.array([0.9, 0.5]), "labels": [0, 2]}, {"boxes": [], "scores": [], "labels": []}],
    "semantic_segmentation": [{"shape": [1, 2, 2], "data": [0.5, 0.5, 0.9, 0.1]}, {"shape": (1, 1, 2), "data": np.array([0.3, 0.7])}],
    "keypoint_detection": [{"instances": [{"keypoints": [10, 20, 0.9], "category_id": 1, "score": np.float32(0.8)}]}, {"instances": []}],
    "classification": [{"probabilities": [0.5, 0.5]}, {"probabilities": np.array([0.25, 0.75])}],
}


@pytest.mark.parametrize("task", TASKS)
def test_objects(client: Client, dataset: str, task: str) -> None:
    client.publish_embeddings(dataset, names(2), vectors(2))
    event = client.publish_predictions(dataset, task, names(2), TASKS[task], selection={"batch_size": 2})
    batch = client.wait_for_selection(event, 120)
    assert sorted(batch.filenames) == names(2) and batch.scores[0] is not None


NAN = vectors(10)
NAN[2:7, 3] = np.nan
NO_SUM = probabilities(10)
NO_SUM[4] *= 2
TWICE = names(8) + names(2)
DETECTION = {"boxes": [BOX], "scores": [0.5, 0.5], "labels": [1]}
BAD = {
    "twice": (lambda c, d: c.publish_embeddings(d, TWICE, vectors(10)), "2 of 10 filenames occur more than once: 'images/größe 00000.jpg', 'images/größe 00001.jpg'"),
    "absolute": (lambda c, d: c.publish_embeddings(d, ["/a.jpg", "b/../c.jpg", "", "ok.jpg"], vectors(4)), "3 of 4 filenames are no relative paths of 1 to 1024 bytes: '/a.jpg', 'b/../c.jpg', ''"),
    "no strings": (lambda c, d: c.publish_embeddings(d, [1, "a"], vectors(2)), "1 of 2 filenames are no strings: 1"),
    "one string": (lambda c, d: c.publish_embeddings(d, "a.jpg", vectors(1)), "filenames is one string"),
    "none": (lambda c, d: c.publish_embeddings(d, [], vectors(0)), "there are no filenames"),
    "rows": (lambda c, d: c.publish_embeddings(d, names(9), vectors(10)), "shape (10, 8), want one row for each of 9 filenames"),
    "ragged": (lambda c, d: c.publish_embeddings(d, names(2), [[1.0], [1.0, 2.0]]), "this is no array"),
    "NaN": (lambda c, d: c.publish_embeddings(d, names(10), NAN), "5 of 10 rows are not finite (NaN or infinity): 'images/größe 00002.jpg', 'images/größe 00003.jpg', 'images/größe 00004.jpg', …"),
    "float32 range": (lambda c, d: c.publish_embeddings(d, names(1), [[1e300]]), "1 of 1 rows are not finite"),
    "sum": (lambda c, d: c.publish_predictions(d, "classification", names(10), NO_SUM), "1 of 10 rows are no probabilities that sum to 1 (for logits: normalization='softmax'): 'images/größe 00004.jpg'"),
    "weights": (lambda c, d: c.publish_predictions(d, "classification", names(10), -NO_SUM, normalization="sum"), "10 of 10 rows are no weights"),
    "normalization": (lambda c, d: c.publish_predictions(d, "classification", names(10), NO_SUM, normalization="max"), "normalization is 'max'"),
    "task": (lambda c, d: c.publish_predictions(d, "guessing", names(1), [{}]), "task is 'guessing'"),
    "field": (lambda c, d: c.publish_predictions(d, "object_detection", names(1), [{"bbox": [BOX]}]), "1 of 1 predictions have a field that object_detection has not"),
    "uneven": (lambda c, d: c.publish_predictions(d, "object_detection", names(1), [DETECTION]), "1 of 1 predictions have boxes, scores and classes of unequal number"),
    "object NaN": (lambda c, d: c.publish_predictions(d, "object_detection", names(1), [{"boxes": [BOX], "scores": [np.nan], "labels": [1]}]), "1 of 1 predictions hold NaN"),
    "object count": (lambda c, d: c.publish_predictions(d, "object_detection", names(2), [{}]), "there are 1 predictions for 2 filenames"),
    "two words": (lambda c, d: c.publish_labels(d, labeled=["a.jpg"], skipped=["a.jpg"]), "1 of 2 filenames occur more than once: 'a.jpg'"),
    "nothing": (lambda c, d: c.publish_labels(d), "there are no filenames"),
    "too large": (lambda c, d: c.publish_labels(d, labeled=[f"{i:0200d}.jpg" for i in range(6000)]), "at most 1 MiB is taken: publish it in parts"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_not_sent(client: Client, dataset: str, stream: Stream, what: str) -> None:
    call, message = BAD[what]
    before = stream.objects()
    with pytest.raises(BadInput) as caught:
        call(client, dataset)
    assert message in str(caught.value)
    assert stream.sent(dataset) == [] and stream.objects() == before


def test_what_the_worker_refuses(client: Client, dataset: str) -> None:
    with pytest.raises(SelectionFailed) as caught:
        client.wait_for_selection(client.request_selection(dataset, {}), 120)
    assert caught.value.code == "unknown_dataset" and dataset in caught.value.message and caught.value.hint


def test_bucket_that_the_worker_may_not_read(dataset: str) -> None:
    with Client(bucket="elsewhere") as c:
        with pytest.raises(SelectionFailed) as caught:
            c.wait_for_selection(c.publish_embeddings(dataset, names(2), vectors(2)), 120)
    assert caught.value.code == "reference_not_allowed"


def test_nothing_comes(client: Client, dataset: str) -> None:
    with pytest.raises(TimeoutError, match="no selection came"):
        client.wait_for_selection("an event that nobody sent", 0.5)


def test_no_server() -> None:
    with pytest.raises(ConnectionError) as caught:
        Client("nats://secret@127.0.0.1:1").request_selection("x")
    assert "127.0.0.1:1" in str(caught.value) and "secret" not in str(caught.value)


def test_no_stream(dataset: str) -> None:
    async def main() -> None:
        async with AsyncClient() as c:
            with pytest.raises(ConnectionError, match="start a worker"):
                await c._publish("nobody.listens", {"dataset": dataset}, None)

    asyncio.run(main())


def test_closed(client: Client) -> None:
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.request_selection("x")
