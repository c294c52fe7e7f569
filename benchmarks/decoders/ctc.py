"""CTC: from 100 steps of 64 units to texts, by prefix beam search and greedily."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from math import exp, log1p

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.decoders.case import Case, Contenders
from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import ACTIVATION_LOGITS, CtcHead, DataType, Head, TensorSpec

STEPS, UNITS, BEAM_WIDTH = 100, 64, 16
#: The unit of the blank.
BLANK = UNITS - 1
RIVALS = ("tensorflow", "keras")
Floats = NDArray[np.float32]


def cases() -> list[Case]:
    """Return batches of a model that is sure of most steps, and of one that is not; and a single row."""
    return [
        _case("CTC beam search, 32 rows, a model that is sure", _logits(32, 8), BEAM_WIDTH),
        _case("CTC beam search, 32 rows, a model that is not sure", _logits(32, 2), BEAM_WIDTH),
        _case("CTC beam search, 1 row, a model that is sure", _logits(1, 8), BEAM_WIDTH),
        _case("CTC greedy, 32 rows", _logits(32, 8), 1),
    ]


def _logits(rows: int, sureness: float) -> Floats:
    """Return logits [rows, steps, units]; one unit of each step, half of them blanks, stands out by `sureness`."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(rows, STEPS, UNITS))
    right = np.where(rng.random((rows, STEPS)) < 0.5, BLANK, rng.integers(UNITS, size=(rows, STEPS)))
    logits[np.arange(rows)[:, None], np.arange(STEPS), right] += sureness
    return logits.astype(np.float32)


def _case(name: str, logits: Floats, beam_width: int) -> Case:
    notes = [f"left out, not installed: {package}" for package in RIVALS if not find_spec(package)]
    if beam_width == 1:
        notes.append("TensorFlow's scores are sums of logits, which takes no softmax")
    return Case(
        f"{name}, {STEPS} steps of {UNITS} units" + (f", beam {beam_width}" if beam_width > 1 else ""),
        partial(_contenders, logits, beam_width),
        "vectorised over the batch: no slower than TensorFlow",
        "; ".join(notes),
    )


def _contenders(logits: Floats, beam_width: int) -> Contenders:
    kind = CtcHead(labels=map(str, range(UNITS)), beam_width=beam_width)
    head = Head(name="text", output="logits", activation=ACTIVATION_LOGITS, ctc=kind)
    spec = TensorSpec(name="logits", datatype=DataType.DATA_TYPE_FP32, shape=[-1, STEPS, UNITS])
    decoder = decoder_for(head, [spec])
    contenders: dict[str, Callable[[], object]] = {
        "headgate": lambda: decoder.decode({"logits": logits}, DecodeOptions()),
        "floor: log softmax, and the best of each step": lambda: _floor(logits, beam_width),
    }
    if beam_width > 1 and len(logits) == 1:
        contenders["Python loop"] = lambda: _loop(_log_softmax(logits)[0].tolist(), beam_width)
    for package, rival in zip(RIVALS, (_tensorflow, _keras), strict=True):
        if find_spec(package):
            contenders |= rival(logits, beam_width)
    return contenders


def _log_softmax(logits: Floats) -> Floats:
    values: Floats = logits - logits.max(axis=2, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=2, keepdims=True))
    return values


def _floor(logits: Floats, beam_width: int) -> object:
    values = _log_softmax(logits)
    return values.argmax(axis=2) if beam_width == 1 else np.partition(values, -beam_width, axis=2)


def _loop(log_probabilities: list[list[float]], beam_width: int) -> tuple[int, ...]:
    never = float("-inf")
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, never)}
    for step in log_probabilities:
        found: defaultdict[tuple[int, ...], list[float]] = defaultdict(lambda: [never, never])
        for prefix, (in_blank, in_symbol) in beam.items():
            total = _add(in_blank, in_symbol)
            found[prefix][0] = _add(found[prefix][0], total + step[BLANK])
            for unit, value in enumerate(step[:BLANK]):
                doubled = prefix[-1:] == (unit,)
                if doubled:
                    found[prefix][1] = _add(found[prefix][1], in_symbol + value)
                longer = found[(*prefix, unit)]
                longer[1] = _add(longer[1], (in_blank if doubled else total) + value)
        best = sorted(found.items(), key=lambda each: _add(*each[1]), reverse=True)[:beam_width]
        beam = {prefix: (in_blank, in_symbol) for prefix, (in_blank, in_symbol) in best}
    return next(iter(beam))


def _add(one: float, other: float) -> float:
    """Add probabilities that are given as their logarithms."""
    low, high = (one, other) if one < other else (other, one)
    return high if low == float("-inf") else high + log1p(exp(low - high))


def _tensorflow(logits: Floats, beam_width: int) -> dict[str, Callable[[], object]]:
    tensorflow = import_module("tensorflow")
    by_step = tensorflow.constant(logits.transpose(1, 0, 2))
    lengths = tensorflow.fill([len(logits)], STEPS)
    if beam_width == 1:
        return {"tf.nn.ctc_greedy_decoder": lambda: tensorflow.nn.ctc_greedy_decoder(by_step, lengths)}
    search = tensorflow.nn.ctc_beam_search_decoder
    return {"tf.nn.ctc_beam_search_decoder": lambda: search(by_step, lengths, beam_width, top_paths=1)}


def _keras(logits: Floats, beam_width: int) -> dict[str, Callable[[], object]]:
    decode = import_module("keras").ops.ctc_decode
    lengths = np.full(len(logits), STEPS, np.int32)
    if beam_width == 1:
        return {"keras.ops.ctc_decode": lambda: decode(logits, lengths, "greedy", mask_index=BLANK)}
    return {
        "keras.ops.ctc_decode": lambda: decode(
            logits, lengths, "beam_search", beam_width=beam_width, top_paths=1, mask_index=BLANK
        )
    }
