"""Golden examples: what a model has to answer before it is ready, on the device that it is going to run on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.decoders import DecodeOptions, Decoder
from headgate.server.batch_runner import BatchRunner
from headgate.server.errors import ServerError, StartupError
from headgate.server.inference import InferenceRequest, Outputs
from headgate.server.inputs import GivenTensor, ModelInputs
from headgate.server.padding import own_outputs
from headgate.server.providers import CPU
from headgate.server.session import Session
from headgate.server.statistics import Statistics
from headgate.v1 import GoldenExamples, Signature, Tolerance
from headgate.v1.columns import columns_from_prediction
from headgate.v1.columns.comparison import changed_rows
from headgate.v1.golden import GOLDEN_FILE, golden_from_bytes
from headgate.v1.parity import absolute_of, compare
from headgate.v1.tensors import numpy_from_tensor, widened

_log = logging.getLogger(__name__)

_OPTIONS = DecodeOptions(include_probabilities=True)
_REMEDY = f"export the model again, or delete {GOLDEN_FILE} to serve it unproven"


def check_golden(
    model_file: Path,
    session: Session,
    inputs: ModelInputs,
    signature: Signature,
    decoders: Mapping[str, Decoder],
    max_rows: int,
) -> None:
    """Compare a model's answers with those of Keras in the file of golden examples beside it, if there is one.

    Raw outputs may differ by the tolerances of the signature. What its decoders make of Keras' outputs has to be what
    they made of them at export.

    Raises:
        StartupError: they differ, or the file is damaged.
    """
    path = model_file.with_name(GOLDEN_FILE)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if signature.verification.golden_examples_sha256:
            _log.warning("%s is missing, so that nothing proves that the model answers here as Keras does", path)
        return
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror}") from error
    try:
        golden = golden_from_bytes(content, signature.verification.golden_examples_sha256)
        outputs = _run(golden, session, inputs, max_rows)
        _compare_outputs(golden, outputs, session, signature)
        _compare_predictions(golden, decoders)
    except (ServerError, ValueError) as error:
        raise StartupError(f"{path}: {error}; {_REMEDY}") from error


def _run(golden: GoldenExamples, session: Session, inputs: ModelInputs, max_rows: int) -> list[NDArray[Any]]:
    """Run each row as a request of its own, as many in a batch as there may be; return the outputs of all."""
    given = [numpy_from_tensor(tensor) for tensor in golden.request.inputs]
    answers = _Answers()
    requests = []
    for row in range(golden.response.rows):
        tensors = [
            GivenTensor(tensor.name, (1, *tensor.shape[1:]), array[row : row + 1], tensor.datatype)
            for tensor, array in zip(golden.request.inputs, given, strict=True)
        ]
        requests.append(InferenceRequest(answers, *inputs.bind(tensors), answers))
    runner = BatchRunner(session, inputs, Statistics(), "the model on its golden examples")
    for start in range(0, len(requests), max_rows):
        runner.run(requests[start : start + max_rows])
    return [np.concatenate(rows) for rows in zip(*answers.outputs, strict=True)]


class _Answers:
    """Keeps the outputs of requests: their caller and their renderer."""

    deadline = math.inf

    def __init__(self) -> None:
        self.outputs: list[list[NDArray[Any]]] = []

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        for request in requests:
            self.outputs.append(own_outputs(outputs, request))
            yield b""

    def metadata(self, key: str) -> None:
        """Have none."""

    def reply(self, response: bytes) -> None:
        """Have nobody to tell."""

    def fail(self, error: ServerError) -> None:
        raise error

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Never go away."""


def _compare_outputs(golden: GoldenExamples, outputs: Outputs, session: Session, signature: Signature) -> None:
    expected = {tensor.name: numpy_from_tensor(tensor) for tensor in golden.outputs}
    tolerances = {tolerance.output: tolerance for tolerance in signature.verification.tolerances}
    for spec, actual in zip(session.outputs, outputs, strict=True):
        if spec.name not in expected:
            raise ValueError(f"it has no output '{spec.name}'")
        tolerance = tolerances.get(spec.name, Tolerance())
        absolute: ArrayLike = absolute_of(tolerance)
        relative = tolerance.relative
        if session.provider != CPU:
            # Nobody knows what other devices do with float32; CUDA multiplies it in TF32.
            absolute, relative = tolerance.tf32_absolute, tolerance.tf32_relative
        difference = compare(expected[spec.name], widened(actual), absolute, relative)
        if not difference.is_allowed:
            raise ValueError(
                f"output '{spec.name}' differs from Keras' own: {session.provider} gives {difference}, allowed is "
                f"{difference.absolute:.3g} + {relative:g} of the value"
            )


def _compare_predictions(golden: GoldenExamples, decoders: Mapping[str, Decoder]) -> None:
    rows = golden.response.rows
    keras = {tensor.name: numpy_from_tensor(tensor) for tensor in golden.outputs}
    for prediction in golden.response.predictions:
        if prediction.head not in decoders:
            raise ValueError(f"the model has no head '{prediction.head}'")
        columns = decoders[prediction.head].decode(keras, _OPTIONS)
        changed = changed_rows(columns_from_prediction(prediction, rows), columns)
        if changed:
            raise ValueError(f"head '{prediction.head}' decides otherwise than at export, in row {changed[0]}")
