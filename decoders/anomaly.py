"""Anomaly heads: how unusual each row is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import HeadError, check_activation, check_calibration, check_finite, enum_name, units_of
from headgate.decoders.options import DecodeOptions
from headgate.v1 import ACTIVATION_LINEAR, AnomalyHead, Head, TensorSpec
from headgate.v1.columns import AnomalyColumns, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyDecoder(Decoder):
    """Compares scores with a threshold and with those of held-out data, as reported: in float32.

    Infinite scores pass, NaN is invalid.

    Attributes:
        threshold: float64 [1]; None: nothing is decided.
        sign: 1 where higher scores are anomalous, -1 where lower ones are.
        quantiles: float64 [n], `sign` times scores of held-out data in ascending order; None: no percentiles.
        percentages: float64 [n], the part of held-out data up to each, in 0..100.
    """

    threshold: FloatArray | None
    sign: int
    quantiles: FloatArray | None
    percentages: FloatArray | None

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> AnomalyDecoder:
        """Make the decoder of an anomaly head; raises HeadError."""
        kind = head.anomaly
        check_activation(head, (ACTIVATION_LINEAR,))
        check_calibration(head, "thresholds")
        units = units_of(head, outputs)
        if units > 1:
            raise HeadError(head.name, "output", f"'{head.output}' has {units} units, an anomaly head reads 1")
        check_finite(head, "anomaly.threshold", [kind.threshold])
        check_finite(head, "anomaly.score_quantiles", kind.score_quantiles)
        if len(kind.score_quantiles) == 1:
            raise HeadError(head.name, "anomaly.score_quantiles", "has one entry; give none, or two or more")
        if any(score > following for score, following in pairwise(kind.score_quantiles)):
            raise HeadError(head.name, "anomaly.score_quantiles", "are not ascending")
        if kind.reconstruction_error not in AnomalyHead.ReconstructionError.values():
            came = enum_name(AnomalyHead.ReconstructionError, kind.reconstruction_error)
            raise HeadError(head.name, "anomaly.reconstruction_error", f"is {came}, one of a newer headgate")
        if bool(kind.reconstructed_input) != bool(kind.reconstruction_error):
            raise HeadError(
                head.name, "anomaly.reconstructed_input", "and reconstruction_error go together; give both or neither"
            )
        sign = -1 if kind.lower_is_anomalous else 1
        quantiles = np.sort(sign * np.array(kind.score_quantiles))
        # Nearer to 0 than any score, which is float32: what rises between two of these, rises too steeply for a number.
        quantiles[abs(quantiles) < np.finfo(np.float32).smallest_subnormal] = 0
        return cls(
            head.name,
            {head.output: (-1, 1)},
            np.array([kind.threshold]) if kind.HasField("threshold") else None,
            sign,
            quantiles if len(quantiles) else None,
            np.linspace(0, 100, len(quantiles)) if len(quantiles) else None,
        )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> AnomalyColumns:
        (output,) = outputs
        scores = output[:, 0].astype(np.float32)
        anomalous = percentiles = None
        # Both in float64: numpy would round the threshold to float32, a client that compares would not.
        if self.threshold is not None:
            anomalous = scores >= self.threshold if self.sign > 0 else scores <= self.threshold
        if self.quantiles is not None and self.percentages is not None:
            # Of equal quantiles interp takes the last: data of the same score is as usual.
            percentiles = np.interp(self.sign * scores, self.quantiles, self.percentages).astype(np.float32)
        threshold = np.nan if self.threshold is None else self.threshold.item()
        return AnomalyColumns(scores, ~np.isnan(scores), threshold, anomalous, percentiles)
