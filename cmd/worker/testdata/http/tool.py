"""A tool on the real SDKs: tool.py NEXTBATCH TOKEN SECRET PORT

Receives deliveries with the cloudevents package, both of its interfaces, and
checks them with standardwebhooks; answers 503 to the first. Posts events with
the same package in both modes. Prints a JSON line for each answer and each
delivery.
"""

import http.server
import json
import sys
import threading
import urllib.error
import urllib.request
import warnings

from cloudevents.core.bindings import http as core
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.conversion import to_binary, to_structured
from cloudevents.v1.http import CloudEvent as CloudEventV1
from cloudevents.v1.http import from_http
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

warnings.simplefilter("ignore", DeprecationWarning)
base, token, secret, port = sys.argv[1:]
webhook = Webhook(secret)
posts = 0
speaking = threading.Lock()


def say(**what):
    with speaking:  # print writes the end of a line apart, and two threads speak
        print(json.dumps(what), flush=True)


class Receiver(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        global posts
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = dict(self.headers)
        try:
            webhook.verify(body, headers)
        except WebhookVerificationError as e:
            say(forged=str(e))
            raise
        for name, change in [("body", body + b" "), ("id", None)]:  # what was tampered with is refused
            tampered = headers if change else headers | {"Webhook-Id": "x"}
            try:
                webhook.verify(change or body, tampered)
                say(tampered=name)
            except WebhookVerificationError:
                pass
        event = core.from_http_event(core.HTTPMessage(headers=headers, body=body))
        old = from_http(headers, body)
        posts += 1
        same = old["id"] == event.get_id() == headers["Webhook-Id"] and old.data == event.get_data()
        say(delivered=event.get_id(), type=event.get_type(), cause=event.get_extension("causationid"), data=event.get_data(), same=same, status=503 if posts == 1 else 204)
        self.send_response(503 if posts == 1 else 204)
        self.end_headers()


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()


def post(name, headers, body):
    request = urllib.request.Request(base + "/v1/events", body, headers | {"Authorization": "Bearer " + token})
    try:
        with urllib.request.urlopen(request) as answer:
            say(posted=name, status=answer.status, answer=json.load(answer))
    except urllib.error.HTTPError as e:
        say(posted=name, status=e.code, answer=json.load(e))


def attributes(id, type, source="/tool"):  # the old interface does not percent-encode headers
    return {"id": id, "source": source, "type": type, "specversion": "1.0", "datacontenttype": "application/json"}


rows = [{"filename": f"{i}/é.jpg", "embedding": [i, i * i]} for i in range(20)]
upload = {"dataset": "from python", "embeddings": {"uri": "inline:", "data": rows}, "selection": {"method": "CORESET", "batch_size": 3}}
request = {"dataset": "from python", "selection": {"method": "RANDOM", "batch_size": 2}}

m = core.to_structured_event(CloudEvent(attributes("structured", "embeddings.ready", "/tööl one"), upload))
post("structured", m.headers, m.body)
m = core.to_binary_event(CloudEvent(attributes("binary", "selection.requested", "/tööl one"), request))
post("binary", m.headers, m.body)
post("binary", m.headers, m.body)
post("old structured", *to_structured(CloudEventV1(attributes("old structured", "selection.requested"), request)))
post("old binary", *to_binary(CloudEventV1(attributes("old binary", "selection.requested"), request)))
post("wrong", *to_binary(CloudEventV1(attributes("wrong", "selection.wanted"), request)))
sys.stdin.read()  # receives until it is told to end
