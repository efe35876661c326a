"""No fault."""
