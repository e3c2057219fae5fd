"""Rows on their way: filenames with an array or with objects, as a file, and
joined from the shards of several ranks."""

import contextlib
import hashlib
import json
import pathlib
import tempfile
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np

from ._checks import Array, BadInput


@dataclass
class Rows:
    """filenames[i] belongs to row i of the array, or to objects[i]."""

    filenames: List[str]
    field: str  # name of the array
    array: Optional[Array] = None
    objects: Optional[List[Dict[str, Any]]] = None

    @property
    def format(self) -> str:
        return "jsonl" if self.array is None else "npz"

    def write(self, path: pathlib.Path) -> None:
        """The bytes depend on nothing but the rows. Filenames are UTF-8: a
        quarter of the size that numpy's strings take."""
        if self.array is not None:
            arrays: Dict[str, Any] = {"filenames": np.array([name.encode() for name in self.filenames]), self.field: self.array}
            with open(path, "wb") as out:
                np.savez(out, **arrays)
            return
        with open(path, "w", encoding="utf-8") as lines:
            for row in self.objects or []:
                lines.write(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n")

    def read(self, path: pathlib.Path) -> "Rows":
        """What write wrote, of another rank."""
        if self.array is not None:
            with np.load(path) as npz:
                if self.field not in npz:
                    raise BadInput(f"another rank sent {', '.join(npz.files)}, this one {self.field}")
                return Rows([name.decode() for name in npz["filenames"].tolist()], self.field, npz[self.field])
        with open(path, encoding="utf-8") as lines:
            objects = [json.loads(line) for line in lines]
        return Rows([row["filename"] for row in objects], self.field, objects=objects)


def join(shards: Sequence[Rows]) -> Rows:
    """The rows of all ranks in the order of the ranks. A filename that several
    have counts in the lowest: samplers that give each rank as many samples as
    the others repeat some."""
    widths = sorted({s.array.shape[1] for s in shards if s.array is not None})
    if len(widths) > 1:
        raise BadInput(f"the ranks sent rows of unequal length: {widths}")
    seen = set()
    names: List[str] = []
    keep: List[List[int]] = []
    for shard in shards:
        rows = [i for i, name in enumerate(shard.filenames) if name not in seen]
        seen.update(shard.filenames)
        names += [shard.filenames[i] for i in rows]
        keep.append(rows)
    joined = Rows(names, shards[0].field)
    if shards[0].array is not None:
        joined.array = np.concatenate([s.array[rows] for s, rows in zip(shards, keep) if s.array is not None])
    else:
        joined.objects = [s.objects[i] for s, rows in zip(shards, keep) if s.objects is not None for i in rows]
    return joined


@contextlib.contextmanager
def scratch(name: str) -> Iterator[pathlib.Path]:
    """A path for one file, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nextbatch-") as folder:
        yield pathlib.Path(folder) / name


def digest(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    h = hashlib.sha256()
    with open(path, "rb") as data:
        for block in iter(lambda: data.read(1 << 20), b""):
            h.update(block)
    return h.hexdigest()
