"""PyTorch and Lightning are hundreds of megabytes and not installed here: what
stands in for them has the few attributes that the recipes use."""

from typing import Any, List

import numpy as np
import pytest
from conftest import Stream, names, vectors

from nextbatch import BadInput, Client
from nextbatch.recipes import SelectionCallback, predict


class Tensor:
    """The part of torch.Tensor that as_array uses."""

    def __init__(self, array: Any) -> None:
        self.array, self.dtype, self.detached = array, "torch.float32", False

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> Any:
        return self.array


class Model:
    training = True
    memory = np.zeros((2, 3), "float32")

    def eval(self) -> None:
        self.training = False

    def __call__(self, images: Any) -> Tensor:
        assert not self.training
        self.memory[: len(images)] = images @ np.arange(24.0).reshape(8, 3)
        return Tensor(self.memory[: len(images)])  # the same memory each time


def test_predict() -> None:
    images = vectors(5).astype("float32")
    loader = [(images[:2], names(5)[:2]), (images[2:4], names(5)[2:4]), (images[4:], names(5)[4:])]
    files, rows = predict(Model(), loader)
    assert files == names(5)
    np.testing.assert_allclose(rows, images @ np.arange(24.0).reshape(8, 3), rtol=1e-5)
    with pytest.raises(BadInput, match="2 filenames and 1 rows"):
        predict(Model(), [(images[:1], names(2))])
    with pytest.raises(BadInput, match="no batch"):
        predict(Model(), [])


class Trainer:
    world_size, global_step = 2, 30

    def __init__(self, rank: int) -> None:
        self.global_rank = rank


def test_callback(client: Client, dataset: str, stream: Stream) -> None:
    client.publish_embeddings(dataset, names(8), vectors(8))
    logits = vectors(8, 4, seed=3)
    callbacks: List[SelectionCallback] = []
    for rank in (1, 0):
        callback = SelectionCallback(client, dataset, run="run-1", model={"name": "vit"}, selection={"batch_size": 3})
        callback.on_predict_epoch_start(Trainer(rank), None)
        for i in range(rank, 8, 2):
            callback.on_predict_batch_end(Trainer(rank), None, Tensor(logits[i : i + 1]), (None, (names(8)[i],)), i)
        callback.on_predict_epoch_end(Trainer(rank), None)
        callbacks.append(callback)
    event = callbacks[1].published
    assert event is not None and event.id.startswith("run-1/step-30/") and callbacks[0].published.id == ""
    batch = client.wait_for_selection(event, 120)
    assert len(batch.filenames) == 3 and len(stream.sent(dataset)) == 2
    with pytest.raises(BadInput, match="rank 1 predicted no batch"):
        SelectionCallback(client, dataset, run="run-2").on_predict_epoch_end(Trainer(1), None)
