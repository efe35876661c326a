"""The HTTP interface."""

from importlib.metadata import version

from cryptography.hazmat.primitives import hashes, hmac
from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from orders.database import Order, answers, connect
from orders.settings import Settings


class Wanted(BaseModel):
    """What a customer sends."""

    item: str = Field(min_length=1)
    quantity: int = Field(gt=0)


def make(settings: Settings) -> FastAPI:
    """The application for *settings*."""
    engine = connect(settings.database_url)
    app = FastAPI(title="orders", version=version("orders"))

    @app.get("/health")
    def health(response: Response) -> dict[str, str]:
        try:
            healthy = answers(engine)
        except SQLAlchemyError:
            healthy = False
        response.status_code = 200 if healthy else 503
        return {"status": "ok" if healthy else "no database", "version": app.version, "database": engine.dialect.name}

    @app.post("/orders", status_code=201)
    def place(wanted: Wanted) -> dict[str, str | int]:
        with Session(engine) as session:
            order = Order(item=wanted.item, quantity=wanted.quantity)
            session.add(order)
            session.commit()
            return {"id": order.id, "receipt": _receipt(settings.receipt_key, order)}

    @app.get("/orders/{number}")
    def show(number: int) -> dict[str, str | int]:
        with Session(engine) as session:
            order = session.get(Order, number)
            if order is None:
                raise HTTPException(404, f"no order {number}")
            return {"id": order.id, "item": order.item, "quantity": order.quantity}

    return app


def _receipt(key: bytes, order: Order) -> str:
    signer = hmac.HMAC(key, hashes.SHA256())
    signer.update(f"{order.id}:{order.item}:{order.quantity}".encode())
    return signer.finalize().hex()
