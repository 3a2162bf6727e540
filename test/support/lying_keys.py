"""A Synapse module that makes the homeserver lie: it changes the answers to POST /keys/query, for chosen readers.

The rules are a JSON file that is read again for every query, so a test changes them while the server runs:
{"rules": [{"victim": "@alice:hs", "readers": ["@bob:hs"],      who is lied about, to whom ("*" is everybody)
            "except": ["@alice:hs"],                             readers who are told the truth nevertheless
            "devices": {"GHOST": {...}},                         added, or in place of the true ones
            "hide_devices": ["REAL"],
            "master_key": {...}, "self_signing_key": {...}}]}    another identity, or an earlier one
"""

import copy
import json
import os
import threading


class LyingKeys:
    def __init__(self, config, api):
        self.path = config["rules"]
        handler = api._hs.get_e2e_keys_handler()
        honest = handler.query_devices

        async def query_devices(query_body, timeout, from_user_id, from_device_id):
            answer = await honest(query_body, timeout, from_user_id, from_device_id)
            return self.lie(answer, query_body["device_keys"], from_user_id)

        handler.query_devices = query_devices
        end_with_parent()

    def lie(self, answer, asked, reader):
        with open(self.path, encoding="utf-8") as file:
            rules = json.load(file)["rules"]
        rules = [rule for rule in rules if rule["victim"] in asked and concerns(rule, reader)]
        # The answer may share objects with Synapse's caches: never change it in place.
        answer = copy.deepcopy(answer) if rules else answer
        for rule in rules:
            apply(rule, answer)
        return answer


def concerns(rule, reader):
    return (reader in rule["readers"] or "*" in rule["readers"]) and reader not in rule.get("except", [])


def apply(rule, answer):
    victim = rule["victim"]
    devices = answer["device_keys"].setdefault(victim, {})
    devices.update(rule.get("devices", {}))
    for device_id in rule.get("hide_devices", []):
        devices.pop(device_id, None)
    for name in ("master_key", "self_signing_key"):
        if name in rule:
            answer.setdefault(name + "s", {})[victim] = rule[name]


def end_with_parent():
    """Standard input is a pipe from the test: its end means that the test is gone, however it went."""

    def wait():
        # Not sys.stdin: its lock, held by a thread that waits, makes Python abort when Synapse ends in the ordinary way.
        while os.read(0, 1):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
