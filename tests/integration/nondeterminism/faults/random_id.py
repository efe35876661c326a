"""A new identity for every build."""

import uuid


def facts():
    return f"build {uuid.uuid4()}\n"
