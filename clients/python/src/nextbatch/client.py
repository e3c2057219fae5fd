"""The client for programs without an event loop."""

import asyncio
import threading
from typing import Any, Coroutine, Iterator, Mapping, Optional, Sequence, TypeVar, Union

from ._selection import Batch, Selection
from .aio import AsyncClient, Published, Shard, Spec

T = TypeVar("T")


class Client:
    """AsyncClient for blocking programs: the same arguments and methods, which
    may be called from several threads. It connects at the first use, or where a
    with block begins; its event loop runs in a thread of its own. Do not share
    it across a fork."""

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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nextbatch", daemon=True)
        self._thread.start()

        async def make() -> AsyncClient:  # in the loop: what it holds belongs to one
            return AsyncClient(url, creds=creds, source=source, bucket=bucket, folder=folder, **connect)

        self._client = self._wait(make())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # after Ctrl-C the work does not go on unseen
            raise

    def __enter__(self) -> "Client":
        try:
            self._wait(self._client.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection. What was published is stored already."""
        if self._thread.is_alive():
            self._wait(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def publish_embeddings(
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
        """See AsyncClient.publish_embeddings."""
        return self._wait(
            self._client.publish_embeddings(
                dataset, filenames, array, embedding=embedding, selection=selection, run=run, shard=shard, timeout=timeout
            )
        )

    def publish_predictions(
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
        """See AsyncClient.publish_predictions."""
        return self._wait(
            self._client.publish_predictions(
                dataset,
                task,
                filenames,
                array_or_objects,
                model=model,
                selection=selection,
                normalization=normalization,
                run=run,
                shard=shard,
                timeout=timeout,
            )
        )

    def publish_labels(
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
        """See AsyncClient.publish_labels."""
        return self._wait(
            self._client.publish_labels(
                dataset, labeled=labeled, skipped=skipped, unlabeled=unlabeled, tag=tag, selection=selection, run=run
            )
        )

    def request_selection(
        self,
        dataset: str,
        selection: Optional[Spec] = None,
        *,
        query_tag: Optional[str] = None,
        preselected_tag: Optional[str] = None,
        from_scratch: Optional[bool] = None,
        run: Optional[str] = None,
    ) -> Published:
        """See AsyncClient.request_selection."""
        return self._wait(
            self._client.request_selection(
                dataset, selection, query_tag=query_tag, preselected_tag=preselected_tag, from_scratch=from_scratch, run=run
            )
        )

    def wait_for_selection(self, event: Union[Published, str], timeout: float = 600) -> Selection:
        """See AsyncClient.wait_for_selection."""
        return self._wait(self._client.wait_for_selection(event, timeout))

    def wait_for_labels(self, batch: Selection, timeout: float = 7 * 24 * 3600) -> Batch:
        """See AsyncClient.wait_for_labels."""
        return self._wait(self._client.wait_for_labels(batch, timeout))

    def selections(self, dataset: Optional[str], durable: str, *, timeout: Optional[float] = None) -> Iterator[Selection]:
        """See AsyncClient.selections. The body may take as long as it likes."""
        results = self._client.selections(dataset, durable, timeout=timeout)

        async def following() -> Optional[Selection]:
            try:
                return await results.__anext__()
            except StopAsyncIteration:
                return None

        try:
            while (selection := self._wait(following())) is not None:
                yield selection
        finally:
            if self._thread.is_alive():
                self._wait(results.aclose())
