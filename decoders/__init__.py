"""From a model's raw outputs to typed predictions, in pure numpy.

A decoder is made once for each head, which validates the head, and then turns batch after batch into columns:

>>> import numpy as np
>>> from headgate.v1 import ACTIVATION_LOGITS, DataType, Head, MulticlassHead, TensorSpec
>>> kind = MulticlassHead(labels=["setosa", "versicolor", "virginica"])
>>> head = Head(name="species", output="logits", activation=ACTIVATION_LOGITS, multiclass=kind)
>>> spec = TensorSpec(name="logits", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 3])
>>> logits = np.array([[0.1, 2.0, 0.3], [3.0, 0.0, 0.0]], np.float32)
>>> columns = decoder_for(head, [spec]).decode({"logits": logits}, DecodeOptions())
>>> [f"{label} {score:.2f}" for label, score in zip(columns.labels, columns.scores, strict=True)]
['versicolor 0.75', 'setosa 0.91']
"""

from headgate.decoders.decoder import DecodeError, Decoder
from headgate.decoders.heads import HeadError
from headgate.decoders.kinds import decoder_for
from headgate.decoders.options import DecodeOptions

__all__ = ["DecodeError", "DecodeOptions", "Decoder", "HeadError", "decoder_for"]
