"""What a selection.created says, wherever it says it."""

import asyncio
import hashlib
import json
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Dict, List, Optional


class SelectionFailed(Exception):
    """The worker could not handle an event: a stable code, what is wrong, and
    what its sender can do."""

    def __init__(self, event: Dict[str, Any]) -> None:
        data = event["data"]
        self.code: str = data["code"]
        self.message: str = data["message"]
        self.hint: str = data.get("hint", "")
        self.event = event
        super().__init__(f"{self.code}: {self.message}" + (f" ({self.hint})" if self.hint else ""))


@dataclass(frozen=True)
class Added:
    """One new sample. rank counts from 1, in the order of worth."""

    filename: str
    rank: int
    score: Optional[float] = None  # acquisition score, where there is one
    gain: Optional[float] = None  # what the pick was worth to the method
    covers: Optional[int] = None  # UHERDING, HERDING: samples of the pool that it covers better than any before it
    nearest: Optional[str] = None  # nearest sample that was selected before it
    random: bool = False  # of the random share: picked whatever the model says


@dataclass(frozen=True)
class Selection:
    """A batch, in the order of its worth."""

    id: str  # of the event: the same if it is delivered again
    dataset: str
    tag: str
    method: str
    added: List[Added]
    selected: List[str]  # the whole tag: what was selected before, and this
    event: Dict[str, Any]  # the whole CloudEvent as it came

    @property
    def filenames(self) -> List[str]:
        return [a.filename for a in self.added]

    @property
    def scores(self) -> List[Optional[float]]:
        return [a.score for a in self.added]


@dataclass(frozen=True)
class Batch:
    """What annotators have done with a batch: how many of its samples are
    labeled, skipped, or neither."""

    dataset: str
    tag: str
    labeled: int
    pending: int
    skipped: int
    complete: bool  # nothing is pending


async def selection(event: Dict[str, Any]) -> Selection:
    """Reads a selection.created; a large one from where its dataref points."""
    data = event["data"]
    added, selected = data.get("added", []), data.get("filenames", [])
    if "dataref" in event:
        body = await asyncio.get_running_loop().run_in_executor(None, _fetch, event)
        lines = [json.loads(line) for line in body.splitlines()]
        added = [line["added"] for line in lines[1:] if "added" in line]
        selected = [line["filename"] for line in lines[1:] if "filename" in line]
    if len(added) != data["counts"]["added"]:
        raise ValueError(f"selection {event['id']} counts {data['counts']['added']} samples and has {len(added)}")
    return Selection(event["id"], data["dataset"], data["tag"]["name"], data["method"], [Added(**a) for a in added], selected, event)


def _fetch(event: Dict[str, Any]) -> bytes:
    url, size = event["dataref"], int(event["datarefsize"])
    if urllib.parse.urlsplit(url).scheme not in ("http", "https", "file"):
        raise ValueError(f"selection {event['id']} is at {url}, want http, https or file")
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            body: bytes = response.read(size + 1)
    except OSError as e:
        hint = ": it is on the worker's disk; have the worker set AL_PUBLIC_URL" if url.startswith("file:") else ""
        raise OSError(f"cannot read the selection at {url}: {e}{hint}") from e
    if "sha-256:" + hashlib.sha256(body).hexdigest() != event["datarefdigest"]:
        raise ValueError(f"{url} has {len(body)} bytes that are not those of selection {event['id']}")
    return body
