"""The two ends of nextbatch: publish embeddings, predictions and labels, and
receive selections. Client blocks, AsyncClient is the same with await."""

from ._checks import BadInput
from ._selection import Added, Batch, Selection, SelectionFailed
from .aio import AsyncClient, Published
from .client import Client

__all__ = ["Added", "AsyncClient", "BadInput", "Batch", "Client", "Published", "Selection", "SelectionFailed"]
