"""The tests run in the working directory of a real worker, whose data is in
nextbatch-data: see TestPythonClient in cmd/worker."""

import asyncio
import json
import pathlib
import uuid
from typing import Any, Dict, Iterator, List

import nats
import numpy as np
import pytest

from nextbatch import Client

URL = pathlib.Path("nextbatch-data/nats/nats.url")


@pytest.fixture(scope="session", autouse=True)
def worker() -> str:
    if not URL.exists():
        pytest.exit("run beside a worker: go test -tags foreign -run TestPythonClient ./cmd/worker", 2)
    return URL.read_text().strip()


@pytest.fixture
def client() -> Iterator[Client]:
    with Client() as c:
        yield c


@pytest.fixture
def dataset() -> str:
    return f"photos {uuid.uuid4().hex[:8]}"


class Stream:
    """What has been sent about a dataset, read without our package."""

    def __init__(self, url: str) -> None:
        self.url = url

    def sent(self, dataset: str) -> List[Dict[str, Any]]:
        return asyncio.run(self._read("AL_IN", "al.v1.in.*.*." + dataset.replace(" ", "=20")))

    def selections(self, dataset: str) -> List[Dict[str, Any]]:
        return asyncio.run(self._read("AL", "al.v1.out.selection.created." + dataset.replace(" ", "=20")))

    def objects(self, bucket: str = "al-data") -> List[str]:
        return asyncio.run(self._objects(bucket))

    async def _read(self, stream: str, subject: str) -> List[Dict[str, Any]]:
        nc = await nats.connect(self.url)
        try:
            js = nc.jetstream()
            sub = await js.pull_subscribe(subject, stream=stream)
            pending = (await sub.consumer_info()).num_pending
            return [json.loads((await sub.fetch(1, timeout=60))[0].data) for _ in range(pending or 0)]
        finally:
            await nc.close()

    async def _objects(self, bucket: str) -> List[str]:
        nc = await nats.connect(self.url)
        try:
            return sorted(o.name for o in await (await nc.jetstream().object_store(bucket)).list())
        except nats.js.errors.NotFoundError:
            return []
        finally:
            await nc.close()


@pytest.fixture
def stream(worker: str) -> Stream:
    return Stream(worker)


def names(n: int) -> List[str]:
    return [f"images/größe {i:05d}.jpg" for i in range(n)]


def vectors(n: int, width: int = 8, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(n, width))


def probabilities(n: int, classes: int = 5, seed: int = 0) -> Any:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=n)
