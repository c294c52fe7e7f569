"""The decoder of each kind of head."""

from collections.abc import Sequence

from headgate.decoders.anomaly import AnomalyDecoder
from headgate.decoders.binary import BinaryDecoder
from headgate.decoders.count import CountDecoder
from headgate.decoders.ctc import CtcDecoder
from headgate.decoders.decoder import Decoder
from headgate.decoders.detection import DetectionDecoder
from headgate.decoders.embedding import EmbeddingDecoder
from headgate.decoders.heads import HeadError
from headgate.decoders.keypoints import KeypointsDecoder
from headgate.decoders.mean_variance import MeanVarianceDecoder
from headgate.decoders.multiclass import MulticlassDecoder
from headgate.decoders.multilabel import MultilabelDecoder
from headgate.decoders.ordinal import OrdinalDecoder
from headgate.decoders.quantile import QuantileDecoder
from headgate.decoders.regression import RegressionDecoder
from headgate.decoders.segmentation import SegmentationDecoder
from headgate.decoders.sequence_tags import SequenceTagsDecoder
from headgate.v1 import Head, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES, format_spec, number_kind

_DECODERS: dict[str, type[Decoder]] = {
    "regression": RegressionDecoder,
    "binary": BinaryDecoder,
    "multiclass": MulticlassDecoder,
    "multilabel": MultilabelDecoder,
    "quantile": QuantileDecoder,
    "count": CountDecoder,
    "mean_variance": MeanVarianceDecoder,
    "ordinal": OrdinalDecoder,
    "anomaly": AnomalyDecoder,
    "embedding": EmbeddingDecoder,
    "sequence_tags": SequenceTagsDecoder,
    "ctc": CtcDecoder,
    "segmentation": SegmentationDecoder,
    "detection": DetectionDecoder,
    "keypoints": KeypointsDecoder,
}


def decoder_for(head: Head, outputs: Sequence[TensorSpec]) -> Decoder:
    """Validate a head and make its decoder.

    Args:
        head: what an output means.
        outputs: the outputs of its model.

    Raises:
        HeadError: the head contradicts itself or the outputs that it reads.

    >>> decoder_for(Head(name="price", output="z", regression={}), [TensorSpec(name="y", datatype="DATA_TYPE_FP32")])
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
    # Nobody reads outputs of a type that a newer headgate knows.
    by_name = {spec.name: spec for spec in outputs if spec.datatype in NUMPY_DTYPES}
    if head.output not in by_name:
        raise HeadError(head.name, "output", f"is '{head.output}'; the model's outputs are {', '.join(by_name)}")
    if number_kind(by_name[head.output].datatype) != "f":
        spec = format_spec(by_name[head.output])
        raise HeadError(head.name, "output", f"'{head.output}' is {spec}; a head reads floating point numbers")
    return _DECODERS[kind].from_head(head, by_name)
