"""buildonce: one locked dependency set, every format, the same installed files."""
