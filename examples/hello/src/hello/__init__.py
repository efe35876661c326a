"""Greets people, in columns."""
