"""The client for programs with an event loop."""

import asyncio
import hashlib
import json
import os
import pathlib
import uuid
from dataclasses import dataclass
from typing import Any, AsyncGenerator, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import nats
import numpy as np
from nats.aio.client import Client as NATS
from nats.errors import Error as NATSError
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError

from . import _checks, _events
from ._results import finished, follow, outcome
from ._rows import Rows, digest, join, scratch
from ._selection import Batch, Selection
from ._store import Bucket, Folder, Store

Spec = Mapping[str, Any]  # the selection block of an event, see docs/events.md
Shard = Tuple[int, int]  # rank from 0, and number of ranks


@dataclass(frozen=True)
class Published:
    """An event that JetStream has stored. Of the ranks that send shards only
    rank 0 sends the event: id is "" for the others."""

    source: str
    id: str
    type: str
    dataset: str
    duplicate: bool = False  # JetStream had it within the last ten minutes


class AsyncClient:
    """Publishes events and receives results over NATS JetStream. Use it with
    async with, or call close.

    url defaults to $AL_NATS_URL, then to what nextbatch-data/nats/nats.url
    says; creds, a credentials file, to $AL_NATS_CREDS. Arrays go to bucket, or
    to files below folder where one is given. source names the program in its
    events. Further arguments are those of nats.connect.

    An event is identified by source, run, and a digest of what it says: a job
    that is retried and comes to the same numbers publishes nothing twice."""

    def __init__(
        self,
        url: Optional[str] = None,
        *,
        creds: Optional[str] = None,
        source: str = "/training",
        bucket: str = "al-data",
        folder: Optional[str] = None,
        **connect: Any,
    ) -> None:
        self.url, self.source, self.bucket, self.folder = url, source, bucket, folder
        self.options = dict(connect)
        creds = creds or os.environ.get("AL_NATS_CREDS")
        if creds:
            self.options["user_credentials"] = creds
        self._nc: Optional[NATS] = None
        self._opening: Optional[asyncio.Lock] = None

    async def __aenter__(self) -> "AsyncClient":
        await self._connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection. What was published is stored already."""
        if self._nc is not None:
            await self._nc.close()
            self._nc = None

    async def publish_embeddings(
        self,
        dataset: str,
        filenames: Sequence[str],
        array: Any,
        *,
        embedding: Optional[str] = None,
        selection: Optional[Spec] = None,
        run: Optional[str] = None,
        shard: Optional[Shard] = None,
        timeout: float = 600,
    ) -> Published:
        """Publishes embeddings.ready: one row of array for each filename. It
        makes the dataset and adds samples that are new."""
        names = _checks.filenames(filenames)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            matrix = _checks.as_array(array).astype("float32", copy=False)
        _checks.rows(names, matrix)
        data = {"dataset": dataset, "embedding": embedding, "selection": selection}
        rows = Rows(names, "embeddings", matrix)
        return await self._publish_rows("embeddings.ready", "embeddings", data, rows, run, shard, timeout)

    async def publish_predictions(
        self,
        dataset: str,
        task: str,
        filenames: Sequence[str],
        array_or_objects: Any,
        *,
        model: Union[str, Mapping[str, Any], None] = None,
        selection: Optional[Spec] = None,
        normalization: str = "none",
        run: Optional[str] = None,
        shard: Optional[Shard] = None,
        timeout: float = 600,
    ) -> Published:
        """Publishes predictions.ready. For classification an array: one row of
        probabilities for each filename, or of logits with
        normalization="softmax". For every task, a list of mappings with the
        fields of docs/events.md, one for each filename."""
        names = _checks.filenames(filenames)
        data = {
            "dataset": dataset,
            "task": task,
            "normalization": None if normalization == "none" else normalization,
            "model": {"name": model} if isinstance(model, str) else model,
            "selection": selection,
        }
        field = "logits" if normalization == "softmax" else "probabilities"
        if _is_objects(task, array_or_objects):
            rows = Rows(names, field, objects=_checks.objects(task, names, array_or_objects))
        else:
            rows = Rows(names, field, _checks.as_array(array_or_objects))
            assert rows.array is not None
            _checks.probabilities(names, rows.array, normalization)
        return await self._publish_rows("predictions.ready", "predictions", data, rows, run, shard, timeout)

    async def publish_labels(
        self,
        dataset: str,
        *,
        labeled: Sequence[str] = (),
        skipped: Sequence[str] = (),
        unlabeled: Sequence[str] = (),
        tag: Optional[str] = None,
        selection: Optional[Spec] = None,
        run: Optional[str] = None,
    ) -> Published:
        """Publishes labels.completed: samples that were labeled, rejected, or
        whose label was withdrawn. Without run each call is an event of its own,
        since the same word may be said again after another."""
        data: Dict[str, Any] = {"dataset": dataset, "tag": tag, "selection": selection}
        for field, names in (("labeled", labeled), ("skipped", skipped), ("unlabeled", unlabeled)):
            if len(names) > 0:
                data[field] = _checks.filenames(names)
        said = [name for field in ("labeled", "skipped", "unlabeled") for name in data.get(field, [])]
        _checks.filenames(said)  # each in one list only
        return await self._publish("labels.completed", data, run or uuid.uuid4().hex)

    async def request_selection(
        self,
        dataset: str,
        selection: Optional[Spec] = None,
        *,
        query_tag: Optional[str] = None,
        preselected_tag: Optional[str] = None,
        from_scratch: Optional[bool] = None,
        run: Optional[str] = None,
    ) -> Published:
        """Publishes selection.requested: a batch by the scores that are stored.
        Without run each call asks for another batch."""
        data = {
            "dataset": dataset,
            "query_tag": query_tag,
            "preselected_tag": preselected_tag,
            "from_scratch": from_scratch,
            "selection": selection or {},
        }
        return await self._publish("selection.requested", data, run or uuid.uuid4().hex)

    async def wait_for_selection(self, event: Union[Published, str], timeout: float = 600) -> Selection:
        """The selection that an event led to: what a publish method returned,
        or the id of an event of this source. Raises SelectionFailed if the
        worker refused the event, TimeoutError after timeout seconds."""
        if isinstance(event, Published) and not event.id:
            raise ValueError("this rank sent a shard only: wait on rank 0, which sent the event")
        source, id, dataset = (self.source, event, None) if isinstance(event, str) else (event.source, event.id, event.dataset)
        return await outcome(await self._connect(), source, id, dataset, timeout)

    async def wait_for_labels(self, batch: Selection, timeout: float = 7 * 24 * 3600) -> Batch:
        """Waits until each sample of a selection is labeled or skipped. Raises
        TimeoutError after timeout seconds, one week where none is given."""
        return await finished(await self._connect(), batch.dataset, batch.tag, timeout)

    def selections(self, dataset: Optional[str], durable: str, *, timeout: Optional[float] = None) -> AsyncGenerator[Selection, None]:
        """The selections of a dataset (None: of all), from the first that is kept, each to one
        of the programs that share the durable consumer. A selection is
        acknowledged when the loop asks for the next one; if its body fails or
        breaks it comes again. Ends when none came for timeout seconds; None
        waits forever. A body that blocks the event loop for longer than
        30 seconds loses its hold on the selection."""
        return follow(self._connect, dataset, durable, timeout)

    async def _connect(self) -> JetStreamContext:
        if self._opening is None:  # not before: up to Python 3.9 it belongs to the loop it is made in
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._nc is None:
                self._nc = await _dial(self.url or _default_url(), self.options)
        return self._nc.jetstream()

    async def _store(self) -> Store:
        return Folder(self.folder) if self.folder else Bucket(await self._connect(), self.bucket)

    async def _publish_rows(
        self, type: str, field: str, data: Mapping[str, Any], rows: Rows, run: Optional[str], shard: Optional[Shard], timeout: float
    ) -> Published:
        store = await self._store()
        if shard is not None and shard[1] != 1:
            joined = await self._join(store, [type, data["dataset"], data.get("task") or data.get("embedding")], rows, run, shard, timeout)
            if joined is None:
                return Published(self.source, "", type, data["dataset"])
            rows = joined
        with scratch("rows") as path:
            rows.write(path)
            sha, size = digest(path), path.stat().st_size
            uri = await store.put(f"{sha}.{rows.format}", path, sha)
        reference = {"uri": uri, "format": rows.format, "sha256": sha, "size": size}
        return await self._publish(type, {**data, field: reference}, run)

    async def _join(self, store: Store, what: List[Any], rows: Rows, run: Optional[str], shard: Shard, timeout: float) -> Optional[Rows]:
        """Puts a shard where rank 0 finds it. Rank 0 waits for the others and
        returns the rows of all; the others return None at once."""
        rank, world = shard
        if not 0 <= rank < world:
            raise ValueError(f"shard is {shard}, want (rank, world) with 0 <= rank < world")
        if run is None:
            raise ValueError("shards need run=, the same on every rank: by it rank 0 knows which belong together")
        group = hashlib.sha256(json.dumps([self.source, *what, run, world]).encode()).hexdigest()[:32]
        if rank != 0:
            with scratch("shard") as path:
                rows.write(path)
                await store.put(f"shards/{group}/{rank}", path, digest(path))
            return None
        shards = [rows]
        deadline = asyncio.get_running_loop().time() + timeout
        for other in range(1, world):
            with scratch("shard") as path:
                while not await store.get(f"shards/{group}/{other}", path):
                    if asyncio.get_running_loop().time() > deadline:
                        raise TimeoutError(f"the shard of rank {other} of {world} did not come within {timeout:g} s; nothing was published")
                    await asyncio.sleep(0.2)
                shards.append(rows.read(path))
        return join(shards)

    async def _publish(self, type: str, data: Mapping[str, Any], run: Optional[str]) -> Published:
        said: Dict[str, Any] = json.loads(json.dumps({k: v for k, v in data.items() if v is not None}, default=_number))
        id = _events.identity(type, said, run)
        body = _events.encode(self.source, id, type, said)
        if len(body) > _events.MAX_EVENT - 4096:  # the headers count too
            raise _checks.BadInput(f"the event has {len(body)} bytes, at most 1 MiB is taken: publish it in parts")
        js = await self._connect()
        headers = {"Content-Type": "application/cloudevents+json", "Nats-Msg-Id": _events.message_id(self.source, id)}
        try:
            ack = await js.publish(f"{_events.IN}.{type}.{_events.token(said['dataset'])}", body, timeout=30, headers=headers)
        except NoStreamResponseError as e:
            raise ConnectionError("the NATS server has no stream that takes the event: start a worker, which makes it") from e
        return Published(self.source, id, type, said["dataset"], bool(ack.duplicate))


def _is_objects(task: str, given: Any) -> bool:
    return task != "classification" or isinstance(given, (list, tuple)) and len(given) > 0 and isinstance(given[0], Mapping)


def _number(value: Any) -> Any:
    """Numbers of numpy and PyTorch in a model's metrics, for JSON."""
    if isinstance(value, np.ndarray) or not hasattr(value, "item"):
        raise TypeError(f"{value!r} cannot be written as JSON")
    return value.item()


def _default_url() -> str:
    url = os.environ.get("AL_NATS_URL")
    if url:
        return url
    path = pathlib.Path("nextbatch-data/nats/nats.url")
    try:
        return path.read_text().strip()
    except OSError:
        raise ConnectionError(f"no NATS server is named: give url=, set AL_NATS_URL, or run beside a worker's {path}") from None


async def _dial(url: str, options: Mapping[str, Any]) -> NATS:
    """Connects, or says where there is no server. An address may hold a token,
    which no message shows."""
    try:
        servers = [part.strip() for part in url.split(",")]
        return await asyncio.wait_for(nats.connect(servers, **options), 5)
    except (OSError, NATSError, asyncio.TimeoutError) as e:
        where = ", ".join(part.rsplit("@", 1)[-1].rsplit("//", 1)[-1] for part in url.split(","))
        raise ConnectionError(f"no connection to NATS at {where}: {e or type(e).__name__}") from e
