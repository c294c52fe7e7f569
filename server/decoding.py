"""Decoding the outputs of a batch for an answer."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.decoders import DecodeError, DecodeOptions, Decoder
from headgate.server.errors import InvalidArgumentError
from headgate.server.inference import Outputs
from headgate.v1.columns import Columns
from headgate.v1.tensors import widened


def decode_outputs(decoder: Decoder, output_names: Sequence[str], outputs: Outputs, options: DecodeOptions) -> Columns:
    """Decode a batch's outputs, which are in the order of their names.

    Raises:
        InvalidArgumentError: they are not what the head reads. Fixed sizes were checked when the model was loaded: free
            ones come from the request.
    """
    try:
        return decoder.decode(dict(zip(output_names, map(widened, outputs), strict=True)), options)
    except DecodeError as error:
        raise InvalidArgumentError(f"the outputs cannot be decoded: {error}") from error
