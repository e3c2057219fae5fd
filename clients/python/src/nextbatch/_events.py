"""The protocol: subjects, identities and envelopes of events."""

import hashlib
import json
import re
from typing import Any, Dict, Mapping, Optional

try:
    from cloudevents.v1 import conversion
    from cloudevents.v1.http import CloudEvent
except ImportError:  # cloudevents 1, for Python 3.9
    from cloudevents import conversion  # type: ignore[attr-defined, no-redef]
    from cloudevents.http import CloudEvent  # type: ignore[import-not-found, no-redef]

IN, OUT = "al.v1.in", "al.v1.out"
STREAM = "AL"  # where results are
MAX_EVENT = 1 << 20  # bytes that the stream of inputs takes


def token(name: str) -> str:
    """A dataset's name as one token of a subject."""
    return re.sub(rb"[^A-Za-z0-9_-]", lambda m: b"=%02X" % m[0][0], name.encode()).decode() or "="


def message_id(source: str, id: str) -> str:
    """The Nats-Msg-Id of an event, the same as of the worker's own publishers."""
    return hashlib.sha256(f"{source}\0{id}".encode()).hexdigest()[:32]


def identity(type: str, data: Mapping[str, Any], run: Optional[str]) -> str:
    """An id that is the same for the same data, wherever its objects lie."""
    said = json.dumps(_without_uri(data), sort_keys=True, separators=(",", ":"))
    parts = [type, hashlib.sha256(said.encode()).hexdigest()[:32]]
    return "/".join(parts if run is None else [run, *parts])


def _without_uri(data: Mapping[str, Any]) -> Dict[str, Any]:
    return {k: {f: v for f, v in value.items() if f != "uri"} if isinstance(value, Mapping) else value for k, value in data.items()}


def encode(source: str, id: str, type: str, data: Mapping[str, Any]) -> bytes:
    """The event in structured mode."""
    event = CloudEvent({"source": source, "id": id, "type": type, "datacontenttype": "application/json"}, dict(data))
    return bytes(conversion.to_structured(event)[1])


def decode(headers: Optional[Mapping[str, str]], body: bytes) -> Dict[str, Any]:
    """The event, in either mode, as a dictionary."""
    return dict(conversion.to_dict(conversion.from_http(CloudEvent, dict(headers or {}), body)))
