"""Asks a service on the host it runs on: ``ask.py METHOD URL JSON`` prints ``[status, text]``; status 0 is no answer.

Runs inside hosts, on the target's plain interpreter.
"""

import http.client
import json
import sys
import urllib.parse

method, url, body = sys.argv[1:]
place = urllib.parse.urlsplit(url)
connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
sent = None if body == "null" else body
try:
    connection.request(method, place.path, sent, {"Content-Type": "application/json"} if sent else {})
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode()]))
except OSError:
    print(json.dumps([0, ""]))
