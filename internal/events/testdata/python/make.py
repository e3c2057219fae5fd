"""Publishes events the way Python producers do: make.py NATS_URL

Every way to write an event with the cloudevents package, and some without it,
through nats-py into JetStream. Prints one JSON line per event: its name,
whether it follows the contract, and what a reader must find in it.
"""

import asyncio
import base64
import copy
import json
import sys
from datetime import datetime
from urllib.parse import quote

import nats
import numpy as np
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion as v1
from cloudevents.v1.http import CloudEvent as CloudEventV1

LABELS = {
    "specversion": "1.0",
    "id": "ls-task-4711",
    "source": "/labelstudio/projects/3",
    "type": "labels.completed",
    "subject": "clothing",
    "time": "2026-01-31T14:00:00Z",
    "datacontenttype": "application/json",
    "dataschema": "https://nextbatch.dev/schemas/labels.completed/v1.json",
}
LABELS_DATA = {"dataset": "clothing", "labeled": ["shoes/000017.png", "Größe 42/é 😀.png"]}

# float() around numpy's numbers: json.dumps does not take them as they are.
probabilities = np.array([0.9, 0.1], dtype=np.float64)
PREDICTIONS = LABELS | {
    "id": "run-7-epoch-12",
    "source": "/training/run-7",
    "type": "predictions.ready",
    "time": "2026-01-31T12:00:00.250000+00:00",
    "dataschema": "https://nextbatch.dev/schemas/predictions.ready/v1.json",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
PREDICTIONS_DATA = {
    "dataset": "clothing",
    "task": "classification",
    "predictions": {
        "uri": "inline:",
        "format": "jsonl",
        "data": [{"filename": "a.png", "probabilities": [float(p) for p in probabilities]}],
    },
    "model": {"name": "resnet18", "metrics": {"entropy": float(-(probabilities * np.log(probabilities)).sum())}},
    "selection": {"batch_size": int(probabilities.size)},
}

HARD = {
    "specversion": "1.0",
    "id": 'Euro € 😀 100% "x"',
    "source": "/people/ada?run=7#top",
    "type": "org.example.al.labels.completed.v1",
    "subject": "product photos",
    "time": "2026-01-31T15:00:00.5+01:00",
    "datacontenttype": "application/json",
    "note": 'back\\slash, ~tilde, 50% "off", ünïcode',
}
# The older interface of cloudevents writes header values as they are.
RAW = HARD | {"id": "Euro € 😀", "note": "back\\slash, ~tilde, ünïcode"}
HARD_DATA = {"dataset": "product photos", "labeled": []}


def attributes(spec):
    """What CloudEvent of cloudevents 2 takes: time as a datetime."""
    return spec | {"time": datetime.fromisoformat(spec["time"])}


def v2(spec, data):
    return CloudEvent(attributes(spec), copy.deepcopy(data))


def as_json(event):
    return None, JSONFormat().write(event)


def as_http(message):
    return message.headers, message.body


def by_hand(spec, data):
    """The NATS binding with nothing but nats-py, for README readers."""
    safe = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')
    headers = {"ce-" + name: quote(value, safe=safe) for name, value in spec.items()}
    headers["Nats-Msg-Id"] = quote(spec["source"] + " " + spec["id"])
    return headers, json.dumps(data).encode()


def text(spec, media):
    return spec | {"id": "csv", "datacontenttype": media}


# name, attributes, data, (headers, body)
CASES = [
    ("json", LABELS, LABELS_DATA, as_json(v2(LABELS, LABELS_DATA))),
    ("structured", LABELS, LABELS_DATA, as_http(http.to_structured_event(v2(LABELS, LABELS_DATA)))),
    ("binary", LABELS, LABELS_DATA, as_http(http.to_binary_event(v2(LABELS, LABELS_DATA)))),
    ("v1-json", LABELS, LABELS_DATA, (None, v1.to_json(CloudEventV1(LABELS, LABELS_DATA)))),
    ("v1-structured", LABELS, LABELS_DATA, v1.to_structured(CloudEventV1(LABELS, LABELS_DATA))),
    ("v1-binary", LABELS, LABELS_DATA, v1.to_binary(CloudEventV1(LABELS, LABELS_DATA))),
    ("dict", LABELS, LABELS_DATA, (None, json.dumps(LABELS | {"traceparent": None, "data": LABELS_DATA}).encode())),
    ("dict-utf8", LABELS, LABELS_DATA, (None, json.dumps(LABELS | {"data": LABELS_DATA}, ensure_ascii=False, indent=2).encode())),
    ("by-hand", LABELS, LABELS_DATA, by_hand(LABELS, LABELS_DATA)),
    ("predictions-json", PREDICTIONS, PREDICTIONS_DATA, as_json(v2(PREDICTIONS, PREDICTIONS_DATA))),
    ("predictions-binary", PREDICTIONS, PREDICTIONS_DATA, as_http(http.to_binary_event(v2(PREDICTIONS, PREDICTIONS_DATA)))),
    ("hard-json", HARD, HARD_DATA, as_json(v2(HARD, HARD_DATA))),
    ("hard-structured", HARD, HARD_DATA, as_http(http.to_structured_event(v2(HARD, HARD_DATA)))),
    ("hard-binary", HARD, HARD_DATA, as_http(http.to_binary_event(v2(HARD, HARD_DATA)))),
    ("raw-v1-binary", RAW, HARD_DATA, v1.to_binary(CloudEventV1(RAW, HARD_DATA))),
    ("hard-by-hand", HARD, HARD_DATA, by_hand(HARD, HARD_DATA)),
    ("text-json", text(LABELS, "text/csv"), "a,b\né,2\n", as_json(v2(text(LABELS, "text/csv"), "a,b\né,2\n"))),
    ("text-binary", text(LABELS, "text/csv"), "a,b\né,2\n", as_http(http.to_binary_event(v2(text(LABELS, "text/csv"), "a,b\né,2\n")))),
    ("bytes-json", text(LABELS, "image/png"), b"\x89PNG\x00", as_json(v2(text(LABELS, "image/png"), b"\x89PNG\x00"))),
    ("bytes-binary", text(LABELS, "image/png"), b"\x89PNG\x00", as_http(http.to_binary_event(v2(text(LABELS, "image/png"), b"\x89PNG\x00")))),
    ("no-data-json", LABELS, None, as_json(v2(LABELS, None))),
    ("no-data-binary", LABELS, None, as_http(http.to_binary_event(v2(LABELS, None)))),
]


def expected(name, spec, data):
    want = {"name": name, "attributes": spec}
    if isinstance(data, bytes):
        want["bytes"] = base64.b64encode(data).decode()
    elif isinstance(data, str):
        want["bytes"] = base64.b64encode(data.encode()).decode()
    elif data is not None:
        want["data"] = data
    return json.dumps(want, ensure_ascii=False)


async def main(url):
    connection = await nats.connect(url)
    stream = connection.jetstream()
    for name, spec, data, (headers, body) in CASES:
        await stream.publish("al.v1.in." + name, bytes(body), headers=headers)
        print(expected(name, spec, data))
    await connection.close()


asyncio.run(main(sys.argv[1]))
