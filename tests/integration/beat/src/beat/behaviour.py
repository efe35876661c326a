"""What is wrong with this version."""

# One of: unhealthy, crash, impostor, migration, hang.
FAULT = ""
