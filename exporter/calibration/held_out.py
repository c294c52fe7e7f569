"""What an exported model answers to held-out data, as its decoders read it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.errors import CalibrationError
from headgate.exporter.examples import named_arrays
from headgate.exporter.labelled_data import ROWS, LabelledData, labelled_data
from headgate.exporter.tracing.traced_models import Arrays
from headgate.v1 import Head, InputMeaning, TensorSpec

#: `(x, y)`, each an array or a dictionary by name of input or head; or one dictionary of all.
HeldOutArrays = (
    tuple[ArrayLike | Mapping[str, ArrayLike], ArrayLike | Mapping[str, ArrayLike]] | Mapping[str, ArrayLike]
)

_GREATEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Raw outputs of a model, and what is right for one of its heads.

    Attributes:
        outputs: the model's.
        answers: by name of the output, [rows, ...].
        targets: [rows, ...], in the form that `LabelledData` has them.
    """

    outputs: Sequence[TensorSpec]
    answers: Arrays
    targets: NDArray[Any]

    def decode(self, head: Head) -> Any:
        """Return the columns of a head, of requests that ask for all probabilities and no intervals.

        Raises:
            HeadError: the head contradicts itself or the model.
        """
        options = DecodeOptions(include_probabilities=True, confidence_level=0)
        return decoder_for(head, self.outputs).decode(self.answers, options)

    def log_odds(self, head: Head) -> NDArray[np.float64]:
        """Return what the decoder of a head with labels makes of the raw outputs first: [rows, labels].

        Infinite ones, which scikit-learn does not take, become the largest of float32.
        """
        decoder: Any = decoder_for(head, self.outputs)
        output = self.answers[head.output].astype(np.float64)
        with np.errstate(all="ignore"):
            odds: NDArray[np.float64] = decoder.log_odds(output.reshape(len(output), -1))
        return odds.clip(-_GREATEST, _GREATEST)

    def rows(self, chosen: NDArray[Any]) -> "HeldOut":
        """Return some of the rows."""
        answers = {name: array[chosen] for name, array in self.answers.items()}
        return HeldOut(self.outputs, answers, self.targets[chosen])

    def valid_rows(self, head: Head) -> "HeldOut":
        """Return the rows for which a head has an answer.

        Raises:
            CalibrationError: there are none.
        """
        valid = self.decode(head).valid
        if not valid.any():
            raise CalibrationError(f"the model gives no valid answer for any of {len(valid)} rows")
        return self if valid.all() else self.rows(valid)

    def __len__(self) -> int:
        return len(self.targets)


def read_held_out(
    inputs: Sequence[TensorSpec], heads: Sequence[Head], meanings: Iterable[InputMeaning], data: HeldOutArrays
) -> LabelledData:
    """Read `(x, y)`, or all arrays by name; a DataFrame's columns go where the features of these names are.

    Raises:
        CalibrationError: it is neither.
        ModelLoadError: the names, shapes or values do not fit the model.
    """
    if not isinstance(data, Mapping):
        if not isinstance(data, tuple) or len(data) != 2:
            raise CalibrationError("held-out data is neither (x, y) nor a dictionary of arrays by name; give one")
        parts = zip("xy", data, strict=True)
        data = {
            name: array
            for short, part in parts
            for name, array in (part if isinstance(part, Mapping) else {short: part}).items()
        }
    features = [meaning for meaning in meanings if meaning.HasField("tabular")]
    if len(inputs) == 1 and features:
        name = inputs[0].name
        data = {
            key: named_arrays(inputs, value, features, ROWS)[name] if key in ("x", name) else value
            for key, value in data.items()
        }
    return labelled_data(inputs, heads, data)


def fingerprint(data: LabelledData) -> str:
    """Return the SHA-256 of held-out data, in hexadecimal: of each array's name, type, shape and elements."""
    digest = hashlib.sha256()
    parts = (("input", data.inputs), ("targets", data.targets))
    for what, name, array in ((what, name, arrays[name]) for what, arrays in parts for name in sorted(arrays)):
        digest.update(f"{what} {name} {array.dtype} {array.shape}\n".encode())
        if array.dtype.kind == "O":
            for text in array.ravel():
                encoded = text if isinstance(text, bytes) else str(text).encode()
                # With the length, so that it matters where one ends.
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
        else:
            digest.update(array.tobytes())
    return digest.hexdigest()
