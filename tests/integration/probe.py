"""Prints, as JSON, what a program that runs here can notice of its surroundings: ``probe.py FOLDER``.

Runs on the host, started as a build is, and in the build root. *FOLDER* holds many files, to be listed.
"""

import json
import locale
import os
import socket
import sys
import time


def _aslr() -> bool:
    """personality(2): ADDR_NO_RANDOMIZE."""
    with open("/proc/self/personality") as stream:
        return not int(stream.read(), 16) & 0x0040000


def _domain() -> str:
    with open("/proc/sys/kernel/domainname") as stream:
        return stream.read().strip()


def _locale() -> list[str]:
    """How it sorts, and what Monday is called."""
    locale.setlocale(locale.LC_ALL, "")
    return [*sorted("stuvz\u00f5\u0131", key=locale.strxfrm), locale.nl_langinfo(locale.DAY_2)]


def _umask() -> str:
    before = os.umask(0o022)
    os.umask(before)
    return f"{before:03o}"


print(
    json.dumps(
        {
            "environment": os.environ.get("BUILD_CANARY", ""),
            "build-path": os.getcwd(),
            "kernel": os.uname().release,
            "aslr": _aslr(),
            "cpus": len(os.sched_getaffinity(0)),
            "time": int(time.time()) // 86400,
            "user": [os.getuid(), os.getgid()],
            "file-order": os.listdir(sys.argv[1]),
            "host": [socket.gethostname(), _domain()],
            "home": os.path.expanduser("~"),
            "locale": _locale(),
            "exec-path": os.environ["PATH"],
            "time-zone": time.strftime("%z"),
            "umask": _umask(),
            "shell": os.environ.get("SHELL", ""),
            "network": sorted(name for _, name in socket.if_nameindex()),
            "hash-seed": hash("seed"),
            "priority": os.nice(0),
            "limits": os.sysconf("SC_OPEN_MAX"),
        }
    )
)
