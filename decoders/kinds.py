"""The decoder of each kind of head."""

from headgate.decoders.binary import BinaryDecoder
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import HeadError
from headgate.decoders.multiclass import MulticlassDecoder
from headgate.decoders.multilabel import MultilabelDecoder
from headgate.decoders.regression import RegressionDecoder
from headgate.v1 import Head

_DECODERS: dict[str, type[Decoder]] = {
    "regression": RegressionDecoder,
    "binary": BinaryDecoder,
    "multiclass": MulticlassDecoder,
    "multilabel": MultilabelDecoder,
}


def decoder_for(head: Head, units: int) -> Decoder:
    """Validate a head and make its decoder.

    Args:
        head: what the output means.
        units: the last dimension of the output; 1 for an output of shape [rows].

    Raises:
        HeadError: the head contradicts itself or the number of units.

    >>> decoder_for(Head(name="price", output="y"), units=1)
    Traceback (most recent call last):
    ...
    headgate.decoders.heads.HeadError: head 'price': kind is not set; give regression, binary, multiclass or multilabel
    """
    for field in ("name", "output"):
        if not getattr(head, field):
            raise HeadError(head.name, field, "is empty")
    kind = head.WhichOneof("kind")
    if kind is None:
        raise HeadError(head.name, "kind", "is not set; give regression, binary, multiclass or multilabel")
    if units < 1:
        raise HeadError(head.name, "output", f"'{head.output}' has {units} units; its last dimension must be fixed")
    return _DECODERS[kind].from_head(head, units)
