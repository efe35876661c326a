"""The folder of the build."""

import os


def facts():
    return f"root = {os.getcwd()}\n"
