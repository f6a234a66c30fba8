"""A receiver that believes only what the public library of Standard Webhooks verifies, and what it must have got."""

import base64
import json
import os
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

PEOPLE = 500
url, key = os.environ["PEOPLE_URL"], os.environ["PEOPLE_BOOTSTRAP_KEY"]
secrets, verified, refused = [], [], []
arrived = threading.Condition()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            payload = [Webhook(secret).verify(body, headers) for secret in secrets][-1]
            # The library refuses what was changed on the way.
            for wrong in (body + " ", body.replace("type", "Type", 1)):
                try:
                    Webhook(secrets[-1]).verify(wrong, headers)
                except WebhookVerificationError:
                    continue
                raise AssertionError("a changed body was taken")
            with arrived:
                verified.append((headers["webhook-id"], payload))
                arrived.notify()
            status = 204
        except Exception as error:
            refused.append(repr(error))
            status = 400
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def call(method, path, body=None):
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = json.dumps(body).encode() if body is not None else b""
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method=method)) as answer:
        return json.load(answer)


def wait_for(count):
    with arrived:
        if not arrived.wait_for(lambda: len(verified) >= count, timeout=60):
            sys.exit(f"{len(verified)} of {count} verified; refused: {refused[:3]}")


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
hook = call("POST", "/v1/webhooks", {"url": f"http://127.0.0.1:{server.server_port}/", "payload": "full"})
secrets.append(hook["secret"])
assert len(base64.b64decode(hook["secret"].removeprefix("whsec_"))) == 32
people = [{"op": "create", "external_id": f"p{n}", "name": f"Zoë {n}"} for n in range(PEOPLE)]
call("POST", "/v1/profiles/batch", {"items": people})
wait_for(PEOPLE)
# While a secret is exchanged each request is taken by whoever knows the old one or the new one.
secrets.append(call("POST", f"/v1/webhooks/{hook['id']}/rotate-secret")["secret"])
call("POST", "/v1/profiles/batch", {"items": [{"op": "create", "external_id": "last"}]})
wait_for(PEOPLE + 1)
ping = call("POST", f"/v1/webhooks/{hook['id']}/test")
wait_for(PEOPLE + 2)
sequences = [payload["data"]["sequence"] for _, payload in verified[:-1]]
assert not refused, refused[:3]
assert sequences == list(range(sequences[0], sequences[0] + PEOPLE + 1)), "each once, in order"
assert [payload["data"]["profile"]["name"] for _, payload in verified[:PEOPLE]] == [person["name"] for person in people]
assert verified[-1][0] == ping["message_id"] and verified[-1][1]["type"] == "webhook.test"
print(f"the public library verified {len(verified)} webhooks, each once and in order")
