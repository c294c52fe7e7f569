"""The golden examples of an export: a few inputs that Keras and ONNX were compared on."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.proof.keras_runs import KerasRun
from headgate.v1 import Head, PredictOptions, TensorSpec
from headgate.v1.golden import GOLDEN_FILE, golden_to_bytes

#: So much may be written beside every version of a model: a row of 299 x 299 RGB pixels in float32 takes half of it.
MAX_BYTES = 2 * 2**20
_FEW_ROWS = 3


def write_golden(folder: Path, runs: Sequence[KerasRun], outputs: Sequence[TensorSpec], heads: Sequence[Head]) -> str:
    """Write `golden_examples` beside a model, and return their SHA-256 in hexadecimal; "" where they are too large."""
    content = golden_examples(runs, outputs, heads)
    if content is None:
        return ""
    (folder / GOLDEN_FILE).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def golden_examples(runs: Sequence[KerasRun], outputs: Sequence[TensorSpec], heads: Sequence[Head]) -> bytes | None:
    """Choose the golden examples of a model and write them as `headgate.v1.golden` does.

    It is the last batch of at most three rows, so that examples go before random inputs; or the last of a single row
    where three are too large.

    Args:
        runs: what ONNX was compared on.
        outputs: the model's.
        heads: whose decoded predictions are written, too.

    Returns:
        None where even one row takes more than `MAX_BYTES`.
    """
    for rows in (_FEW_ROWS, 1):
        run = next(run for run in reversed(runs) if run.rows <= rows)
        size = sum(array.nbytes for array in (*run.inputs.values(), *run.outputs.values()))
        if size <= MAX_BYTES:
            content = _content(run, outputs, heads)
            if len(content) <= MAX_BYTES:
                return content
    return None


def _content(run: KerasRun, outputs: Sequence[TensorSpec], heads: Sequence[Head]) -> bytes:
    options = DecodeOptions(include_probabilities=True)
    predictions = {head.name: decoder_for(head, outputs).decode(run.outputs, options) for head in heads}
    return golden_to_bytes(run.inputs, run.outputs, PredictOptions(include_probabilities=True), predictions)
