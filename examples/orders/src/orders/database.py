"""The tables, and the one way to reach them."""

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import StaticPool


class Base(DeclarativeBase):
    """All tables."""


class Order(Base):
    """Somebody wants a number of something."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    quantity: Mapped[int]


def connect(url: str) -> Engine:
    """An engine for *url*; a database in memory is one connection, shared."""
    if url == "sqlite://":
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
        migrate(engine)
        return engine
    return create_engine(url, pool_pre_ping=True)


def migrate(engine: Engine) -> None:
    """Make what is missing; safe to run again."""
    Base.metadata.create_all(engine)


def answers(engine: Engine) -> bool:
    """Whether the database can be asked."""
    with engine.connect() as connection:
        return connection.scalar(text("SELECT 1")) == 1
