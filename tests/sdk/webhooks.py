"""A receiver that believes only what the public library of Standard Webhooks verifies, and what it must have got.

It fails, answers too late, hangs up without an answer or after the work was done, and is away for a while; the server is killed
twice meanwhile. In the end each event was taken, each in its order, and what came twice came under the same id with the same
body."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

PEOPLE = 250
engine, log = sys.argv[1], open(sys.argv[2], "ab")
url, key = os.environ["PEOPLE_URL"], os.environ["PEOPLE_BOOTSTRAP_KEY"]
TIMEOUT = int(os.environ["PEOPLE_WEBHOOK_TIMEOUT"])

changed = threading.Condition()
secrets = []
# By id, in the order in which they were first taken: payload; and every id each time it was taken.
taken, takings = {}, []
# What the receiver did instead of answering, and what no sender of ours should have sent.
mishaps, wrong = {"status": 0, "late": 0, "hung up": 0, "taken, not told": 0}, []
attempts = {}


def mishap_of(identifier):
    """What goes wrong with an attempt: every 23rd event fails twice, others once in their own way."""
    attempt = attempts[identifier] = attempts.get(identifier, 0) + 1
    place = list(attempts).index(identifier)
    if place % 23 == 3 and attempt <= 2:
        return "status"
    if place % 97 == 50 and attempt == 1:
        return "late"
    if place % 29 == 11 and attempt == 1:
        return "hung up"
    if place % 31 == 17 and attempt == 1:
        return "taken, not told"
    return None


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    failing = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            payload = [Webhook(secret).verify(body, headers) for secret in secrets][-1]
            # The library refuses what was changed on the way.
            for other in (body + " ", body.replace("type", "Type", 1)):
                try:
                    Webhook(secrets[-1]).verify(other, headers)
                except WebhookVerificationError:
                    continue
                raise AssertionError("a changed body was taken")
        except Exception as error:
            with changed:
                wrong.append(repr(error))
            return self.answer(400)
        identifier = headers["webhook-id"]
        with changed:
            mishap = mishap_of(identifier) if Receiver.failing else None
            if mishap:
                mishaps[mishap] += 1
            if mishap in (None, "taken, not told"):
                if taken.setdefault(identifier, payload) != payload:
                    wrong.append(f"{identifier} came with two bodies")
                takings.append(identifier)
                changed.notify_all()
        if mishap == "status":
            return self.answer(500)
        if mishap == "late":
            time.sleep(TIMEOUT + 0.5)
        if mishap:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Listening(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """The sender hung up: so it should when it waited too long."""


def listen(port=0):
    receiver = Listening(("127.0.0.1", port), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    return receiver


def call(method, path, body=None):
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = json.dumps(body).encode() if body is not None else b""
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method=method), timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        sys.exit(f"{engine}: {method} {path}: {refused.read().decode()}")


def serve():
    server = subprocess.Popen([os.environ["PEOPLE_BIN"], "serve"], stdout=log, stderr=log)
    for _ in range(300):
        try:
            urllib.request.urlopen(url + "/readyz", timeout=5).close()
            return server
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None:
                sys.exit("the server did not start")
            time.sleep(0.1)
    sys.exit("the server is not ready")


def wait_for(count, patience=90):
    with changed:
        if not changed.wait_for(lambda: len(taken) >= count or wrong, timeout=patience) or wrong:
            sys.exit(f"{engine}: {len(taken)} of {count} taken; wrong: {wrong[:3]}; {mishaps}")


def people(numbers):
    return {"items": [{"op": "create", "external_id": f"p{n}", "name": f"Zoë {n}"} for n in numbers]}


def main():
    server = serve()
    try:
        receiver = listen()
        port = receiver.server_port
        hook = call("POST", "/v1/webhooks", {"url": f"http://127.0.0.1:{port}/", "payload": "full"})
        secrets.append(hook["secret"])
        assert len(base64.b64decode(hook["secret"].removeprefix("whsec_"))) == 32
        call("POST", "/v1/profiles/batch", people(range(PEOPLE)))
        # The server dies at once, twice, with much still to send; what it had sent and not noted comes again.
        for share in (5, 2):
            wait_for(PEOPLE // share)
            server.kill()
            server.wait()
            assert len(taken) < PEOPLE, "all were taken before the server was killed, which shows nothing"
            server = serve()
        # Nobody listens for a while.
        wait_for(PEOPLE * 7 // 10)
        receiver.shutdown()
        receiver.server_close()
        assert len(taken) < PEOPLE, "all were taken before the receiver went away, which shows nothing"
        time.sleep(1)
        receiver = listen(port)
        wait_for(PEOPLE)
        # While a secret is exchanged each request is taken by whoever knows the old one or the new one.
        Receiver.failing = False
        secrets.append(call("POST", f"/v1/webhooks/{hook['id']}/rotate-secret")["secret"])
        call("POST", "/v1/profiles/batch", people([PEOPLE]))
        wait_for(PEOPLE + 1)
        ping = call("POST", f"/v1/webhooks/{hook['id']}/test")
        wait_for(PEOPLE + 2)
        events = [*taken.values()]
        assert not wrong, wrong[:3]
        assert all(mishaps.values()), f"not everything went wrong that should: {mishaps}"
        sequences = [event["data"]["sequence"] for event in events[:-1]]
        assert sequences == list(range(sequences[0], sequences[0] + PEOPLE + 1)), "none lost, in order"
        assert [event["data"]["profile"]["name"] for event in events[:-1]] == [f"Zoë {n}" for n in range(PEOPLE + 1)]
        assert [*taken][-1] == ping["message_id"] and events[-1]["type"] == "webhook.test"
        # Whoever goes by the id has each once; again came only what had not been told as taken.
        again = len(takings) - len(taken)
        assert again >= mishaps["taken, not told"], "what was taken and not told has to come again"
        print(
            f"{engine}: the public library verified {len(taken)} webhooks, none lost and in order, {again} of them again under "
            f"their ids; the server was killed twice, the receiver went away once, and {mishaps}"
        )
    finally:
        server.kill()
        server.wait()


main()
