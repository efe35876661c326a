"""The time of the build."""

import datetime


def facts():
    return f"built = {datetime.datetime.now().isoformat()}\n"
