"""Where arrays lie until the worker has read them: a bucket of the JetStream
object store, or a folder that the worker sees."""

import asyncio
import hashlib
import os
import pathlib
import shutil
import tempfile
import urllib.parse
from datetime import datetime, timedelta, timezone
from typing import Optional, Protocol

from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BucketNotFoundError, NotFoundError
from nats.js.object_store import ObjectStore

from ._checks import BadInput

KEEP = timedelta(days=15)  # inputs wait for the worker at most 14
BUCKET_BYTES = 1 << 30  # of a bucket that is created here
CHUNK = 512 << 10  # bytes of a message; each is synced to disk by itself


class Store(Protocol):
    async def put(self, key: str, path: pathlib.Path, sha256: str) -> str:
        """Stores a file and returns its URI. The same file under the same key
        is stored once."""

    async def get(self, key: str, path: pathlib.Path) -> bool:
        """Copies what is under key to path; False if there is nothing yet."""


class Folder:
    """Files below a folder. They appear whole or not at all, and stay."""

    def __init__(self, folder: str) -> None:
        self.folder = pathlib.Path(folder).resolve()

    async def put(self, key: str, path: pathlib.Path, sha256: str) -> str:
        target = self.folder / key
        await asyncio.get_running_loop().run_in_executor(None, _copy, path, target)
        return "file://" + urllib.parse.quote(str(target))

    async def get(self, key: str, path: pathlib.Path) -> bool:
        try:
            shutil.copyfile(self.folder / key, path)
        except FileNotFoundError:
            return False
        return True


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as out, open(source, "rb") as data:
            shutil.copyfileobj(data, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o644)  # the worker may be another user
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


class Bucket:
    """Objects of a bucket, which is created where it is missing and then keeps
    them for KEEP, at most BUCKET_BYTES together."""

    def __init__(self, js: JetStreamContext, name: str) -> None:
        self.js, self.name = js, name
        self.opened: Optional[ObjectStore] = None

    async def _open(self) -> ObjectStore:
        if self.opened is None:
            try:
                self.opened = await self.js.object_store(self.name)
            except BucketNotFoundError:
                self.opened = await self._create()
        return self.opened

    async def _create(self) -> ObjectStore:
        config = api.ObjectStoreConfig(
            description="arrays that events refer to", ttl=KEEP.total_seconds(), max_bytes=BUCKET_BYTES
        )
        try:
            return await self.js.create_object_store(self.name, config)
        except APIError as e:  # another program may have made it meanwhile
            try:
                return await self.js.object_store(self.name)
            except BucketNotFoundError:
                raise BadInput(f"cannot create the bucket {self.name!r}: {e.description}; create it yourself, or give folder=") from e

    async def put(self, key: str, path: pathlib.Path, sha256: str) -> str:
        bucket = await self._open()
        if not await self._has(bucket, key, sha256):
            meta = api.ObjectMeta(name=key, description=sha256, options=api.ObjectMetaOptions(max_chunk_size=CHUNK))
            try:
                with open(path, "rb") as data:
                    await bucket.put(key, data, meta)
            except APIError as e:
                size = path.stat().st_size
                raise BadInput(f"the bucket {self.name!r} takes no {size} bytes more: {e.description}; enlarge it, or give folder=") from e
        return f"nats://{self.name}/{urllib.parse.quote(key)}"

    async def _has(self, bucket: ObjectStore, key: str, sha256: str) -> bool:
        """Whether the object is there and will be long enough. Putting it again
        would pull the old one away under a worker that reads it."""
        try:
            info = await bucket.get_info(key)
        except NotFoundError:
            return False
        since = datetime.fromisoformat(str(info.mtime).replace("Z", "+00:00")) if info.mtime else None
        young = since is not None and datetime.now(timezone.utc) - since < KEEP / 15
        return info.description == sha256 and young

    async def get(self, key: str, path: pathlib.Path) -> bool:
        """Reads message by message: a consumer, as the client library takes,
        could be made to write anywhere, and so may be forbidden."""
        bucket = await self._open()
        h, seq = hashlib.sha256(), 0
        try:
            info = await bucket.get_info(key)
            with open(path, "wb") as out:
                for _ in range(info.chunks or 0):
                    chunk = await self.js.get_msg(f"OBJ_{self.name}", seq + 1, f"$O.{self.name}.C.{info.nuid}", direct=True, next=True)
                    h.update(chunk.data or b"")
                    out.write(chunk.data or b"")
                    seq = chunk.seq or 0
        except NotFoundError:  # not there yet, or replaced meanwhile
            return False
        return h.hexdigest() == info.description
