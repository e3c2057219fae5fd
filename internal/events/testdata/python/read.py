"""Reads events that Go has written: read.py NATS_URL STREAM < expected

expected is one JSON line per message of the stream: its mode, attributes and
data. Every message is read with nats-py and the cloudevents package, both its
interfaces, and compared. Exits with a traceback at the first difference.
"""

import asyncio
import base64
import json
import sys
from datetime import datetime

import nats
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.v1.conversion import from_json as v1_from_json
from cloudevents.v1.http import CloudEvent as CloudEventV1
from cloudevents.v1.http import from_http as v1_from_http


def same(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def check(found, data, want):
    """Compares attributes and data that one interface has found."""
    attributes = {}
    for name, value in found.items():
        if isinstance(value, int):  # in structured mode; booleans too
            value = json.dumps(value)
        if value is not None:
            attributes[name] = value
    attributes["time"] = as_time(attributes["time"])
    same("attributes", attributes, want["attributes"] | {"time": as_time(want["attributes"]["time"])})
    if "bytes" in want:
        plain = base64.b64decode(want["bytes"])
        same("data", data.encode() if isinstance(data, str) else data, plain)
    else:
        same("data", data, want.get("data"))


def as_time(value):
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def read_v2(message, structured):
    event = http.from_http_event(http.HTTPMessage(dict(message.headers), message.data))
    if structured:
        again = JSONFormat().read(None, message.data)
        same("from the body alone", again.get_attributes(), event.get_attributes())
    return event.get_attributes(), event.get_data()


def read_v1(message, structured):
    if structured:
        event = v1_from_json(CloudEventV1, message.data)
    else:
        event = v1_from_http(message.headers, message.data, data_unmarshaller=lambda body: body)
    return dict(event.get_attributes()), event.get_data()


async def main(url, stream):
    connection = await nats.connect(url)
    manager = connection.jsm()
    count = 0
    for line in sys.stdin:
        count += 1
        want = json.loads(line)
        raw = await manager.get_msg(stream, count)
        structured = want["mode"] == "structured"
        same("content type", (raw.headers or {}).get("Content-Type"), "application/cloudevents+json" if structured else None)
        check(*read_v2(raw, structured), want)
        if structured:
            check(*read_v1(raw, structured), want)
    await connection.close()
    print(count, "messages read")


asyncio.run(main(*sys.argv[1:]))
