"""Predictions of PyTorch models, with and without Lightning. Neither needs to be
installed to import this."""

import contextlib
from typing import Any, Callable, ContextManager, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ._checks import Array, BadInput, as_array
from .aio import Published, Spec
from .client import Client

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ImportError:
        Callback = object  # type: ignore[assignment, misc, unused-ignore]


def predict(model: Any, loader: Iterable[Tuple[Any, Sequence[str]]], device: Any = None) -> Tuple[List[str], Array]:
    """Runs model over a loader of (images, filenames) and returns the filenames
    and the rows of its output, for publish_predictions with
    normalization="softmax" or, of a model without head, for
    publish_embeddings. The model stays in evaluation mode."""
    model.eval()
    names: List[str] = []
    outputs: List[Array] = []
    with _no_grad():
        for images, filenames in loader:
            output = as_array(model(images if device is None else images.to(device)))
            _add(names, outputs, filenames, output)
    if not outputs:
        raise BadInput("the loader gave no batch")
    return names, np.concatenate(outputs)


def _add(names: List[str], outputs: List[Array], filenames: Sequence[str], output: Array) -> None:
    if len(filenames) != len(output):
        raise BadInput(f"a batch has {len(filenames)} filenames and {len(output)} rows of output")
    names += list(filenames)
    outputs.append(output.copy())  # the model may use the memory again


def _no_grad() -> ContextManager[Any]:
    try:
        import torch
    except ImportError:
        return contextlib.nullcontext()
    context: ContextManager[Any] = torch.no_grad()
    return context


class SelectionCallback(Callback):  # type: ignore[misc, unused-ignore]
    """A callback of Lightning that publishes what trainer.predict comes to, of
    all ranks as one event. Batches are (images, filenames), unless filenames
    finds them; predict_step returns logits, or what normalization says.
    published is the event, after the end of predict."""

    def __init__(
        self,
        client: Client,
        dataset: str,
        *,
        run: str,
        model: Optional[Mapping[str, Any]] = None,
        selection: Optional[Spec] = None,
        normalization: str = "softmax",
        filenames: Callable[[Any], Sequence[str]] = lambda batch: list(batch[1]),
    ) -> None:
        super().__init__()
        self.client, self.dataset, self.run, self.filenames = client, dataset, run, filenames
        self.model, self.selection, self.normalization = model, selection, normalization
        self.published: Optional[Published] = None
        self._names: List[str] = []
        self._outputs: List[Array] = []

    def on_predict_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._names, self._outputs = [], []

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        _add(self._names, self._outputs, self.filenames(batch), as_array(outputs))

    def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if not self._outputs:
            raise BadInput(f"rank {trainer.global_rank} predicted no batch")
        self.published = self.client.publish_predictions(
            self.dataset,
            "classification",
            self._names,
            np.concatenate(self._outputs),
            model=self.model,
            selection=self.selection,
            normalization=self.normalization,
            run=f"{self.run}/step-{trainer.global_step}",
            shard=(trainer.global_rank, trainer.world_size),
        )
