"""One step of a deployment on this host: ``python3 host.pyz STEP --name NAME``.

The last line of standard output is one JSON object, everything else goes to standard error. Exit code: 0 when the step
did what it should, 4 when a signature or a digest is wrong, 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from contextlib import nullcontext, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

import back
import checks
import plan as plans
import record
import steps
from problems import VERIFICATION, Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS: dict[str, Callable[[steps.Job], steps.Facts]] = {
    "preflight": checks.preflight,
    "lock": steps.lock,
    "stage": steps.stage,
    "arm": steps.arm,
    "migrate": steps.migrate,
    "switch": steps.switch,
    "check": steps.check,
    "confirm": steps.confirm,
    "rollback": back.rollback,
    "guard": partial(back.rollback, by="guard"),
    "boot": partial(back.rollback, by="boot"),
    "status": checks.status,
    "unlock": steps.unlock,
}
READS = ("preflight", "status")
PLANLESS = ("rollback", "guard", "boot", "status")
SOON, LATE = 120, 600  # seconds to wait for another step


def main(arguments: list[str]) -> int:
    """Run the step; answers the exit code."""
    parser = argparse.ArgumentParser(prog="host.pyz", description=__doc__)
    parser.add_argument("step", choices=sorted(STEPS))
    parser.add_argument("--name", required=True, help="the service")
    parser.add_argument("--plan", default="", help="file with the plan, - for standard input; else that on the host")
    parser.add_argument("--plan-json", default="", metavar="BASE64", help="the plan itself")
    parser.add_argument("--deployment", default="", help="do nothing for another one")
    parser.add_argument("--break-lock", action="store_true", help="although another deployment has the lock")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the link may break; the step comes to its end
    os.umask(0o022)
    with redirect_stdout(sys.stderr):
        answer = run(options)
    try:
        print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - or its end would complain again
    if answer["ok"]:
        return 0
    return 4 if any(one.get("kind") == VERIFICATION for one in answer["problems"]) else 1


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The answer of the step."""
    step, facts = options.step, dict[str, Any]()
    try:
        facts = _facts(options)
    except Refused as refused:
        facts = {"problems": [refused.problem], **refused.facts}
    except OSError as error:
        traceback.print_exc()
        facts = {"problems": [Problem(f"{step} was stopped: {error}", "make room" if error.errno == 28 else "")]}
    except Exception as error:  # noqa: BLE001 - whatever it is, the controller is told in the one way it reads
        traceback.print_exc()
        facts = {"problems": [Problem(f"{step} was stopped by a fault of its own: {error!r}")]}
    problems = [one.fields() for one in facts.pop("problems", [])]
    answer = {"step": step, "ok": not problems, "changed": bool(facts.pop("changed", False)), "problems": problems}
    kinds = {one.get("kind", "") for one in problems}
    return {**answer, **({"kind": VERIFICATION} if VERIFICATION in kinds else {}), **facts}


def _facts(options: argparse.Namespace) -> steps.Facts:
    step, place = options.step, record.Place(options.name)
    if os.geteuid() != 0:
        raise Refused("only root can do this", "become root: sudo, or become: true")
    lone = record.alone(place, LATE if step in ("guard", "boot", "rollback") else SOON)
    with nullcontext() if step in READS else lone:
        plan = _plan(options, place)
        if plan and plan.name != place.name:
            raise Refused(f"the plan is for {plan.name}, not for {place.name}")
        foreign = bool(options.plan or options.plan_json)
        return STEPS[step](steps.Job(place, plan, foreign, options.deployment, options.break_lock))


def _plan(options: argparse.Namespace, place: record.Place) -> plans.Plan | None:
    if options.plan_json:
        return plans.decoded(options.plan_json)
    if options.plan:
        return plans.read(options.plan)
    if options.step in PLANLESS or not place.plan.exists():
        return None  # what is needed to go back was written down before
    return plans.read(str(place.plan))
