"""The Python client of a headgate server, blocking (`Client`) and for asyncio (`AsyncClient`).

>>> with Client("localhost:8001") as client:  # doctest: +SKIP
...     predictions = client.predict("iris", [[5.1, 3.5, 1.4, 0.2]])
>>> predictions.head.labels  # doctest: +SKIP
array(['setosa'], dtype=object)
"""

from headgate.client.asynchronous import AsyncClient
from headgate.client.batcher import AsyncBatcher, Batcher
from headgate.client.blocking import Client
from headgate.client.errors import (
    DeadlineExceededError,
    HeadgateError,
    InvalidRequestError,
    ModelFailedError,
    NoHeadsError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from headgate.client.predictions import Predictions
from headgate.client.requests import Inputs, Options
from headgate.client.retries import RetryPolicy

__all__ = [
    "AsyncBatcher",
    "AsyncClient",
    "Batcher",
    "Client",
    "DeadlineExceededError",
    "HeadgateError",
    "Inputs",
    "InvalidRequestError",
    "ModelFailedError",
    "NoHeadsError",
    "NotFoundError",
    "Options",
    "OverloadedError",
    "Predictions",
    "RetryPolicy",
    "UnavailableError",
]
