# SPDX-License-Identifier: Apache-2.0
"""Writes what happens on hosts as lines of JSON to the file that the environment variable RELEASE_EVENTS names.

One object a line: ``at`` (seconds since 1970), ``host``, ``play``, ``task``, ``status`` (``started``, ``ok``,
``failed``, ``unreachable``, ``skipped``), ``changed``, ``result`` (what the program answered: the last line of its
output that is a JSON object, or ``{}``) and ``message`` (for people; of failures only).
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: release_events
type: notification
short_description: Results as lines of JSON
description:
  - Appends one line of JSON for each result to the file that the environment variable RELEASE_EVENTS names.
  - Without the variable it does nothing.
requirements:
  - enabled in callbacks_enabled
"""

# What Ansible and ssh say, and what it means for whoever deploys.
MEANINGS = (
    (r"python3: (command )?not found|python3: No such", "Python 3 is not on this host: there is no /usr/bin/python3"),
    (r"sudo: (command )?not found|sudo: No such", "sudo is not on this host, and the user who logs in is not root"),
    (r"issing sudo password|a password is required|ncorrect sudo password", "sudo asks this user for a password"),
    (r"not in the sudoers file|not allowed to (execute|run)|may not run sudo", "this user may not use sudo"),
    (r"Host key verification failed|REMOTE HOST IDENTIFICATION", "its ssh host key is not the one that is known here"),
    (r"Permission denied \(", "ssh: it does not accept this user's key"),
    (r"[Cc]onnection refused", "ssh: connection refused"),
    (r"Could not resolve hostname", "ssh: its name cannot be resolved"),
    (r"[Tt]imed out|[Tt]imeout|not responding|No route to host|Network is unreachable", "ssh: it does not answer"),
    (r"[Cc]onnection (closed|reset)|Broken pipe|Data could not be sent|Shared connection", "ssh: the connection broke"),
)
LONGEST = 4000  # characters of a message


class CallbackModule(CallbackBase):
    """Hears of results from Ansible, version 2.14 and later."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "release_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._play = ""
        self._stream = None
        path = os.environ.get("RELEASE_EVENTS")
        if not path:
            self.disabled = True
            return
        try:
            self._stream = Path(path).open("a", encoding="utf-8")  # noqa: SIM115  # until the process ends
        except OSError as error:
            self.disabled = True
            self._display.warning(f"release_events: {error}")

    def v2_playbook_on_play_start(self, play):
        self._play = play.get_name()

    def v2_playbook_on_no_hosts_matched(self):
        self._write(host="", task="", status="failed", message="no host of the inventory is meant")

    def v2_runner_on_start(self, host, task):
        self._write(host=host.get_name(), task=task.get_name(), status="started")

    def v2_runner_on_ok(self, result):
        self._result("ok", result)

    def v2_runner_on_skipped(self, result):
        self._result("skipped", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):  # noqa: ARG002
        self._result("failed", result)

    def v2_runner_on_unreachable(self, result):
        # Of a task that another host does for this one, that one is what cannot be reached.
        _, task, facts = parts(result)
        self._result("failed" if delegate(task, facts) else "unreachable", result)

    def _result(self, status, result):
        try:
            host, task, facts = parts(result)
            said = answer(facts)
            failed = status in ("failed", "unreachable")
            self._write(
                host=host.get_name(),
                task=task.get_name(),
                status=status,
                changed=bool(said.get("changed", facts.get("changed", False))),
                result=said,
                message=message(facts, said, delegate(task, facts)) if failed else "",
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, the deployment goes on
            self._display.warning(f"release_events: {error!r}")

    def _write(self, *, host, task, status, changed=False, result=None, message=""):
        if self._stream is None:
            return
        event = {
            "at": round(time.time(), 3),
            "host": host,
            "play": self._play,
            "task": task,
            "status": status,
            "changed": changed,
            "result": result or {},
            "message": message,
        }
        try:
            self._stream.write(json.dumps(event, default=str) + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._stream = None
            self._display.warning(f"release_events: {error!r}")


def parts(result):
    """Host, task and what the task returned: by these names in all versions, by better ones only since 2.19."""
    return result._host, result._task, result._result  # noqa: SLF001


def delegate(task, facts):
    """The host that did the task for this one, or ``""``."""
    found = (facts.get("_ansible_delegated_vars") or {}).get("ansible_delegated_host")
    named = task.delegate_to or ""
    return str(found or ("" if "{{" in named else named))


def answer(facts):
    """The JSON object that a program printed last."""
    for line in reversed((facts.get("stdout") or "").splitlines()):
        if line.lstrip().startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return {}


def message(facts, said, other=""):
    """Why it failed, for people."""
    problems = [str(one.get("message", "")) for one in said.get("problems") or () if isinstance(one, dict)]
    if problems:
        return "; ".join(problems)[:LONGEST]
    keys = ("msg", "stderr", "module_stderr", "stdout", "module_stdout")
    found = [str(facts[key]).strip().removeprefix("Task failed: ") for key in keys if facts.get(key)]
    texts = [text for text in dict.fromkeys(found) if text != "non-zero return code"]
    everything = "\n".join(texts)
    meaning = next((meaning for pattern, meaning in MEANINGS if re.search(pattern, everything)), "")
    return ": ".join(filter(None, (other, meaning, everything[:LONGEST]))) or f"ended with code {facts.get('rc')}"
