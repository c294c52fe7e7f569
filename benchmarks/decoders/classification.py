"""Classification: one row through each kind of head, and 4096 rows of 1000 logits to their best five labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.decoders.case import Case, Contenders
from headgate.decoders import DecodeOptions, decoder_for
from headgate.decoders.decoder import Decoder
from headgate.v1 import (
    ACTIVATION_LOGITS,
    BinaryHead,
    Calibration,
    Conformal,
    ConformalLevel,
    DataType,
    Head,
    IsotonicCurve,
    MulticlassHead,
    MultilabelHead,
    OrdinalHead,
    ProbabilityCalibration,
    TensorSpec,
)
from headgate.v1.columns import Columns, FloatArray

ROWS, CLASSES, BEST, TEMPERATURE = 4096, 1000, 5, 1.7
RIVALS = ("scipy", "keras", "tensorflow")
#: One row of these heads takes more than 15 µs beyond an empty decoder.
SLOW = (
    "multiclass, 10 logits, Platt",
    "multiclass, 10 logits, isotonic",
    "multiclass, 10 logits, APS sets",
    f"multiclass, {CLASSES} logits, best {BEST}",
)


def cases() -> list[Case]:
    """Return one row through each head, and a large batch."""
    return [*(_one_row(name, units, fields) for name, (units, fields) in _heads().items()), _large_batch()]


def _heads() -> dict[str, tuple[int, dict[str, Any]]]:
    """Return heads with their units."""
    pair, ten, thousand = (list(map(str, range(count))) for count in (2, 10, CLASSES))
    temperature = _calibration("METHOD_TEMPERATURE", temperatures=[TEMPERATURE])
    points = np.linspace(0, 1, 30)
    curve = IsotonicCurve(inputs=points, outputs=points**2)
    binary, multiclass = BinaryHead(labels=pair), MulticlassHead(labels=ten)
    return {
        "binary, a logit": (1, {"binary": binary}),
        "binary, a logit, temperature": (1, {"binary": binary, "calibration": temperature}),
        "binary, a logit, isotonic": (
            1,
            {"binary": binary, "calibration": _calibration("METHOD_ISOTONIC", curves=[curve])},
        ),
        "binary, two logits": (2, {"binary": binary}),
        "multiclass, 10 logits": (10, {"multiclass": multiclass}),
        "multiclass, 10 logits, temperature": (10, {"multiclass": multiclass, "calibration": temperature}),
        "multiclass, 10 logits, Platt": (
            10,
            {
                "multiclass": multiclass,
                "calibration": _calibration("METHOD_PLATT", slopes=[0.7] * 10, intercepts=[0.1] * 10),
            },
        ),
        "multiclass, 10 logits, isotonic": (
            10,
            {"multiclass": multiclass, "calibration": _calibration("METHOD_ISOTONIC", curves=[curve] * 10)},
        ),
        "multiclass, 10 logits, LAC sets": (10, {"multiclass": multiclass, **_sets(Conformal.METHOD_LAC)}),
        "multiclass, 10 logits, APS sets": (10, {"multiclass": multiclass, **_sets(Conformal.METHOD_APS)}),
        f"multiclass, {CLASSES} logits, best {BEST}": (
            CLASSES,
            {"multiclass": MulticlassHead(labels=thousand, top_k=BEST)},
        ),
        "multilabel, 10 logits": (10, {"multilabel": MultilabelHead(labels=ten)}),
        "ordinal, 9 logits": (9, {"ordinal": OrdinalHead(labels=ten, form="FORM_EXCEEDANCE")}),
    }


def _calibration(method: str, **numbers: Any) -> Calibration:
    return Calibration(probabilities=ProbabilityCalibration(method=method, **numbers))


def _sets(method: Conformal.Method) -> dict[str, Any]:
    levels = [ConformalLevel(level=0.9, quantiles=[0.8])]
    return {"calibration": Calibration(conformal=Conformal(method=method, levels=levels)), "confidence_level": 0.9}


def _decoder_of(units: int, fields: Mapping[str, Any]) -> Decoder:
    head = Head(name="h", output="logits", activation=ACTIVATION_LOGITS, **fields)
    return decoder_for(head, [TensorSpec(name="logits", datatype=DataType.DATA_TYPE_FP32, shape=[-1, units])])


def _logits(rows: int, units: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(scale=3, size=(rows, units)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class EmptyDecoder(Decoder):
    """Does what is the same for all kinds, and nothing else."""

    columns: Columns

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> EmptyDecoder:
        raise NotImplementedError("made of columns")

    def _decode(self, outputs: object, options: DecodeOptions) -> Columns:
        return self.columns


def _one_row(name: str, units: int, fields: Mapping[str, Any]) -> Case:
    is_slow = name in SLOW
    return Case(
        f"{name}, one row",
        partial(_of_one_row, units, fields, is_slow and bool(find_spec("numba"))),
        "under 15 µs beyond an empty decoder",
        "left out, not installed: numba" if is_slow and not find_spec("numba") else "",
    )


def _of_one_row(units: int, fields: Mapping[str, Any], with_numba: bool) -> Contenders:
    decoder, outputs, options = _decoder_of(units, fields), {"logits": _logits(1, units)}, DecodeOptions()
    empty = EmptyDecoder(decoder.head, decoder.reads, decoder.decode(outputs, options))
    contenders: dict[str, Callable[[], object]] = {
        "headgate": lambda: decoder.decode(outputs, options),
        "floor: an empty decoder": lambda: empty.decode(outputs, options),
    }
    if with_numba:
        compiled: Decoder = import_module("headgate.benchmarks.decoders.compiled").compiled(decoder)
        contenders["compiled with numba"] = lambda: compiled.decode(outputs, options)
    return contenders


def _large_batch() -> Case:
    missing = [package for package in RIVALS if not find_spec(package)]
    return Case(
        f"multiclass, temperature, best {BEST} labels of {ROWS} x {CLASSES} logits",
        _of_large_batch,
        "at most 3 times one softmax pass; at least 20 times as fast as the Python loop",
        f"left out, not installed: {', '.join(missing)}" if missing else "",
    )


def _of_large_batch() -> Contenders:
    logits, options = _logits(ROWS, CLASSES), DecodeOptions()
    labels = list(map(str, range(CLASSES)))
    head = {
        "multiclass": MulticlassHead(labels=labels, top_k=BEST),
        "calibration": _calibration("METHOD_TEMPERATURE", temperatures=[TEMPERATURE]),
    }
    decoder = _decoder_of(CLASSES, head)
    outputs = {"logits": logits}
    contenders: dict[str, Callable[[], object]] = {
        "headgate": lambda: decoder.decode(outputs, options),
        "floor: a copy": logits.copy,
        "floor: the greatest of each row": lambda: logits.max(axis=1),
        f"floor: argpartition, the best {BEST}": lambda: np.argpartition(logits, CLASSES - BEST, axis=1),
        "floor: one softmax pass": lambda: _softmax(logits),
        "Python loop over rows": lambda: python_loop(logits, labels),
    }
    if find_spec("scipy"):
        softmax = import_module("scipy.special").softmax
        named = np.array(labels, object)
        contenders["scipy softmax and argsort"] = lambda: _scipy(softmax, logits, named)
    if find_spec("keras") and find_spec("tensorflow"):
        utilities: Any = import_module("keras.src.applications.imagenet_utils")
        # It would download ImageNet's labels, else.
        utilities.CLASS_INDEX = {label: [f"n{label}", label] for label in labels}
        contenders["softmax and keras.applications decode_predictions"] = lambda: utilities.decode_predictions(
            _softmax(logits / np.float32(TEMPERATURE)), BEST
        )
    return contenders


def _softmax(logits: FloatArray) -> FloatArray:
    values: FloatArray = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = values / values.sum(axis=1, keepdims=True)
    return probabilities


def _scipy(softmax: Callable[..., FloatArray], logits: FloatArray, labels: NDArray[np.object_]) -> object:
    probabilities = softmax(logits / np.float32(TEMPERATURE), axis=1)
    best = probabilities.argsort(axis=1)[:, : -BEST - 1 : -1]
    return labels[best], np.take_along_axis(probabilities, best, axis=1)


def python_loop(logits: FloatArray, labels: list[str]) -> list[list[tuple[str, float]]]:
    """Return the best labels of each row with their probabilities, without numpy."""
    answers = []
    for row in logits.tolist():
        greatest = max(row)
        values = [exp((value - greatest) / TEMPERATURE) for value in row]
        total = sum(values)
        best = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:BEST]
        answers.append([(labels[index], values[index] / total) for index in best])
    return answers
