"""The name of the machine."""

import platform


def facts():
    return f"built on {platform.node()}\n"
