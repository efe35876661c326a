"""Renders deploy recipes: files that work without this tool. Nothing here runs anything."""
