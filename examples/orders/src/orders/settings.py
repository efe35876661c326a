"""Settings, from the environment alone."""

import os
import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What an installation decides."""

    database_url: str
    receipt_key: bytes
    host: str
    port: int


def from_environment() -> Settings:
    """Read ``ORDERS_*``."""
    return Settings(
        database_url=os.environ.get("ORDERS_DATABASE_URL") or "sqlite://",
        receipt_key=(os.environ.get("ORDERS_RECEIPT_KEY") or secrets.token_hex()).encode(),
        host=os.environ.get("ORDERS_HOST") or "127.0.0.1",
        port=int(os.environ.get("ORDERS_PORT") or "8000"),
    )
