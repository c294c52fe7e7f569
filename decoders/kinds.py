"""The decoder of each kind of head."""

from collections.abc import Sequence

from headgate.decoders.binary import BinaryDecoder
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import HeadError
from headgate.decoders.multiclass import MulticlassDecoder
from headgate.decoders.multilabel import MultilabelDecoder
from headgate.decoders.regression import RegressionDecoder
from headgate.v1 import Head, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES, format_spec

_DECODERS: dict[str, type[Decoder]] = {
    "regression": RegressionDecoder,
    "binary": BinaryDecoder,
    "multiclass": MulticlassDecoder,
    "multilabel": MultilabelDecoder,
}


def decoder_for(head: Head, outputs: Sequence[TensorSpec]) -> Decoder:
    """Validate a head and make its decoder.

    Args:
        head: what an output means.
        outputs: the outputs of its model.

    Raises:
        HeadError: the head contradicts itself or the outputs that it reads.

    >>> decoder_for(Head(name="price", output="z", regression={}), [TensorSpec(name="y")])
    Traceback (most recent call last):
    ...
    headgate.decoders.heads.HeadError: head 'price': output is 'z'; the model's outputs are y
    """
    for field in ("name", "output"):
        if not getattr(head, field):
            raise HeadError(head.name, field, "is empty")
    kind = head.WhichOneof("kind")
    if kind is None:
        raise HeadError(head.name, "kind", f"is not set, or one of a newer headgate; give {', '.join(_DECODERS)}")
    by_name = {spec.name: spec for spec in outputs}
    if head.output not in by_name:
        raise HeadError(head.name, "output", f"is '{head.output}'; the model's outputs are {', '.join(by_name)}")
    if NUMPY_DTYPES[by_name[head.output].datatype].kind != "f":
        spec = format_spec(by_name[head.output])
        raise HeadError(head.name, "output", f"'{head.output}' is {spec}; a head reads floating point numbers")
    return _DECODERS[kind].from_head(head, by_name)
