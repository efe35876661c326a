"""Says its version over HTTP."""
