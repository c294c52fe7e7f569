"""`/v2/models/<model>/predict`: decoded answers, as the Python client gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from headgate.client import InvalidRequestError, NotFoundError, Predictions
from headgate.client.requests import build_request, is_known
from headgate.server.errors import InvalidArgumentError
from headgate.server.http.arrays import array_of
from headgate.server.http.gateway import PROBLEMS, Gateway, Target, add_model_route, body_of
from headgate.server.http.requests import Deadline, while_connected
from headgate.server.http.schemas import MOST_ENTRIES, PredictAnswer, PredictRequest
from headgate.server.http.upstream import Upstream
from headgate.v1 import GetModelRequest, GetModelResponse, PredictResponse
from headgate.v1.features import columns_of

#: Descriptions of models are kept for so many names and versions.
_MOST_DESCRIBED = 1024


def predict_routes(gateway: Gateway) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["Predictions"], responses=PROBLEMS)
    predictor = Predictor(gateway.upstream)

    async def predict(request: Request, of: Target) -> Response:
        deadline = gateway.deadline(request)
        asked = await gateway.read(request, deadline, PredictRequest)
        answer = await while_connected(request, predictor.predict(of, asked, deadline))
        predictions = Predictions.from_response(answer)
        body: dict[str, Any] = {"model": predictions.model, "version": predictions.version}
        if predictions.id:
            body["id"] = predictions.id
        return gateway.answer(request, to_json(body | {"predictions": predictions.to_dicts()}, inf_nan_mode="null"))

    add_model_route(
        router,
        "POST",
        "/predict",
        predict,
        summary="What the heads of a model say",
        responses={200: {"model": PredictAnswer}},
        openapi_extra=body_of(PredictRequest),
    )
    return router


class Predictor:
    """Asks for predictions; remembers what models take."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._described: dict[tuple[str, int], GetModelResponse] = {}

    async def predict(self, of: Target, asked: PredictRequest, deadline: Deadline) -> PredictResponse:
        """Predict rows.

        Raises:
            HeadgateError: the request does not fit the model, or the server answers with an error.
            InvalidArgumentError: the inputs are no arrays, or the version is none.
        """
        inputs, version = _arrays(asked.inputs), _version(of.version)
        options: Any = asked.options.model_dump(exclude_none=True)

        async def ask(described: GetModelResponse) -> PredictResponse:
            request = build_request(described, of.model, version, inputs, options, asked.id)
            response: PredictResponse = await self._upstream.predict("Predict", request, deadline)
            return response

        known = self._described.get((of.model, version))
        if known is None:
            known = await self._describe(of.model, version, deadline)
        try:
            return await ask(known)
        except (InvalidRequestError, NotFoundError):
            current = await self._describe(of.model, version, deadline)
            if current.inputs_hash == known.inputs_hash:
                raise
        return await ask(current)

    async def _describe(self, model: str, version: int, deadline: Deadline) -> GetModelResponse:
        request = GetModelRequest(name=model, version=version)
        described: GetModelResponse = await self._upstream.predict("GetModel", request, deadline)
        if is_known(described):
            if len(self._described) >= _MOST_DESCRIBED:
                self._described.clear()
            self._described[model, version] = described
        return described


def _arrays(inputs: Any) -> Any:
    """Return an array, or an array for each name: of an input, or of a feature."""
    named = inputs[0] if isinstance(inputs, list) and inputs else inputs
    if isinstance(named, Mapping) and len(named) > MOST_ENTRIES:
        raise InvalidArgumentError(f"the inputs have {len(named)} names; at most {MOST_ENTRIES} are taken")
    try:
        inputs = columns_of(inputs) or inputs
    except ValueError as error:
        raise InvalidArgumentError(f"the rows cannot be read as features: {error}") from None
    if isinstance(inputs, Mapping):
        return {name: array_of(value, name) for name, value in inputs.items()}
    return array_of(inputs, "inputs")


def _version(text: str) -> int:
    if text and not re.fullmatch("[1-9][0-9]{0,17}", text):
        raise InvalidArgumentError(f"the model version is '{text}'; give a positive integer")
    return int(text or 0)
