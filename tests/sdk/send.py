"""Sends the story of one visitor with each Python SDK; message ids are the same in every run."""

import os
import sys

import rudderstack.analytics as rudder
import segment.analytics as segment

URL, KEY = os.environ["PEOPLE_URL"], os.environ["PEOPLE_BOOTSTRAP_KEY"]


def tell(name, client):
    user, visitor = f"{name}-user", f"{name}-visitor"

    def message(kind):
        return {"message_id": f"{name}-{kind}"}

    client.page(None, "docs", "Pricing", {"path": "/pricing"}, anonymous_id=visitor, **message("page"))
    client.identify(user, {"email": f"{name}@example.com", "plan": "pro"}, anonymous_id=visitor, **message("identify"))
    client.group(user, "engines", {"size": 12}, **message("group"))
    client.alias(f"{name}-before", user, **message("alias"))
    for n in range(1000):
        client.track(user, "order", {"n": n}, **message(f"order-{n}"))
    client.flush()
    client.shutdown() if hasattr(client, "shutdown") else None


failures = []


def failed(error, items):
    failures.append(f"{error}: {len(items)} messages")


segment.write_key, segment.host, segment.on_error = KEY, URL, failed
tell("py-segment", segment)
rudder.write_key, rudder.dataPlaneUrl, rudder.on_error, rudder.gzip = KEY, URL, failed, True
tell("py-rudder", rudder)
if failures:
    sys.exit("\n".join(failures))
