"""Asks the server whether each SDK's messages are there, once, on one profile."""

import json
import os
import sys
import urllib.error
import urllib.request

NAMES = ["py-segment", "py-rudder", "node-segment", "node-rudder"]
EACH = {"page": 1, "identify": 1, "group": 1, "alias": 1, "order": 1000}
if sys.argv[1:] == ["--expected"]:
    print(len(NAMES) * sum(EACH.values()))
    sys.exit()
URL, KEY = os.environ["PEOPLE_URL"], os.environ["PEOPLE_BOOTSTRAP_KEY"]


def get(path):
    request = urllib.request.Request(URL + path, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def events(profile):
    found, cursor = [], ""
    while True:
        page = get(f"/v1/profiles/{profile}/timeline?limit=200{cursor}")
        found += [e for e in page["data"] if not e["type"].startswith("system.")]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


wrong = []
for name in NAMES:
    profile = get(f"/v1/profiles/lookup?external_id={name}-user")
    keys = sorted(f"{i['kind']}={i['value']}" for i in profile["identities"])
    wanted = sorted([f"external_id={name}-user", f"email={name}@example.com", f"anonymous_id={name}-visitor", f"anonymous_id={name}-before"])
    if keys != wanted:
        wrong.append(f"{name}: identities {keys}, expected {wanted}")
    if profile["attributes"].get("plan") != "pro":
        wrong.append(f"{name}: attributes {profile['attributes']}")
    by_type = {}
    for event in events(profile["id"]):
        by_type[event["type"]] = by_type.get(event["type"], 0) + 1
    if by_type != EACH:
        wrong.append(f"{name}: events {by_type}")
if wrong:
    sys.exit("\n".join(wrong))
