"""The user who builds."""

import getpass


def facts():
    return f"built by {getpass.getuser()}\n"
