#!/usr/bin/env python3
"""Brings a version of the service to its users: it starts beside the one that runs, and takes over when it is well.

    python3 switch.py             the version of this folder, whose image is loaded
    python3 switch.py --back      the version that ran before, whose container is started again

The two run as blue and green, each on a port of its own; haproxy leads to one of them. The new one gets no request
before it has said three times that it is well and of the wanted version; the old one is stopped when its last request
is answered. When anything goes wrong the new one is stopped again, and nobody has noticed.

Exit codes: 0 done, 1 failed and everything is as it was. Standard library only; the values are in switch.json.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import health

HERE = pathlib.Path(__file__).resolve().parent
OTHER = {"blue": "green", "green": "blue"}


class SwitchError(Exception):
    """The new version cannot take over."""


class Balancer:
    """haproxy's statistics socket (haproxy management guide, 9.3)."""

    def __init__(self, place, backend):
        self.place, self.backend = place, backend

    def say(self, line):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.place)
            connection.sendall(line.encode() + b"\n")
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode().strip()
        if line.startswith("set") and answer:
            raise SwitchError(f"haproxy: {answer}")
        return answer

    def set(self, server, state):
        self.say(f"set server {self.backend}/{server} state {state}")

    def show(self, server, column):
        header, *rows = self.say("show stat").splitlines()
        names = header.lstrip("# ").split(",")
        found = [dict(zip(names, row.split(","))) for row in rows]
        return next(row[column] for row in found if (row["pxname"], row["svname"]) == (self.backend, server))

    def takes(self, server):
        """haproxy's own checks find it up, so that taking the other out leaves somebody to answer."""
        return self.show(server, "status").startswith(("UP", "no check"))


def until(happens, seconds, what):
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            raise SwitchError(what)
        time.sleep(0.1)


def systemctl(*words, check=True):
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        journal = ["journalctl", "--no-pager", "--lines=20", f"--unit={words[-1]}"]
        subprocess.run(journal, stdout=sys.stderr, check=False)
        raise SwitchError(f"systemctl {' '.join(words)}: {done.stderr.strip()}")
    return done.returncode == 0


def image(wanted):
    """How this engine calls the image: by its configuration's digest, or with containerd's store by its manifest's."""
    for one in wanted:
        if subprocess.run(["docker", "image", "inspect", one], capture_output=True, check=False).returncode == 0:
            return one
    raise SwitchError(f"the image is not loaded: docker load --input {settings['file']}")


def read(colour):
    """What /etc/<name>/<colour>.env says; {} when the colour was never used."""
    place = folder / f"{colour}.env"
    lines = place.read_text().splitlines() if place.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def switch(live, colour, version):
    """Start *colour*, ask it, and let it take the place of *live*."""
    balancer = Balancer(options.haproxy, settings["name"])
    balancer.set(colour, "maint")
    port = settings["ports"][colour]
    try:
        systemctl("reset-failed", f"{unit}@{colour}.service", check=False)  # a version that crashed used up its starts
        systemctl("restart", f"{unit}@{colour}.service")
        well, told = health.wait(f"http://127.0.0.1:{port}{settings['health']}", version, options.timeout)
        if not well:
            raise SwitchError(told)
        balancer.set(colour, "ready")
        until(lambda: balancer.takes(colour), 30, f"haproxy does not find {colour} well")
    except SwitchError:
        balancer.set(colour, "maint")
        subprocess.run(
            ["journalctl", "--no-pager", "--lines=20", f"--unit={unit}@{colour}"], stdout=sys.stderr, check=False
        )
        systemctl("stop", f"{unit}@{colour}.service", check=False)
        raise
    systemctl("enable", f"{unit}@{colour}.service")
    (folder / "live").write_text(f"{colour}\n")
    if live:
        balancer.set(live, "drain")
        try:
            until(lambda: balancer.show(live, "scur") == "0", options.drain, "")
        except SwitchError:
            print(f"{live} still had requests after {options.drain} s", file=sys.stderr)
        systemctl("disable", f"{unit}@{live}.service", check=False)
        systemctl("stop", f"{unit}@{live}.service")
        balancer.set(live, "maint")


def main():
    place = folder / "live"
    live = place.read_text().strip() if place.exists() else ""
    colour = OTHER[live or "green"]
    if options.back:
        version = read(colour).get("VERSION")
        if not version:
            raise SwitchError("no version ran before this one")
        switch(live, colour, version)
    else:
        version = settings["version"]
        facts = {"IMAGE": image(settings["images"]), "PORT": settings["ports"][colour], "VERSION": version}
        if live and read(live).get("IMAGE") == facts["IMAGE"] and systemctl("is-active", f"{unit}@{live}", check=False):
            print(f"{settings['name']} {version} runs already, as {live}")
            return
        before = (folder / f"{colour}.env").read_text() if read(colour) else ""
        folder.mkdir(exist_ok=True)
        (folder / f"{colour}.env").write_text("".join(f"{key}={value}\n" for key, value in facts.items()))
        try:
            if settings["migrate"]:
                systemctl("start", f"{unit}-migrate@{colour}.service")
            switch(live, colour, version)
        except SwitchError:
            (folder / f"{colour}.env").write_text(before)  # the way back stays the one there was
            raise
    print(f"{settings['name']} {version} runs as {colour}" + (f", {live} is stopped" if live else ""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Start a version beside the one that runs, and let it take over.")
    parser.add_argument("--back", action="store_true", help="to the version that ran before")
    parser.add_argument("--haproxy", default="/run/haproxy/admin.sock", metavar="SOCKET", help="its statistics socket")
    seconds = float(os.environ.get("TIMEOUT", "60"))
    parser.add_argument("--timeout", type=float, default=seconds, metavar="SECONDS", help="in which it has to be well")
    parser.add_argument("--drain", type=float, default=30, metavar="SECONDS", help="for the last requests")
    options = parser.parse_args()
    settings = json.loads((HERE / "switch.json").read_text())
    unit = settings["name"]
    folder = pathlib.Path("/etc") / unit
    try:
        main()
    except (SwitchError, OSError) as error:
        sys.exit(f"error: {error}")
