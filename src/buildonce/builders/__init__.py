"""The formats.

A new one is a module here, a folder in ``builders/``, a page in ``docs/reference/builders/`` and its tests.
"""
