"""Recurrent layers."""

from functools import partial
from typing import Any

from keras import layers as kl

from headgate.benchmarks.coverage.cases import integers, layer, normal, padded

_KINDS = ("LSTM", "GRU", "SimpleRNN")
_VARIANTS: dict[str, dict[str, Any]] = {
    "last": {},
    "sequences": {"return_sequences": True},
    "states": {"return_sequences": True, "return_state": True},
    "go_backwards": {"go_backwards": True, "return_sequences": True},
    "no bias": {"use_bias": False},
    "unrolled": {"unroll": True},
    "stateless dropout": {"dropout": 0.2, "recurrent_dropout": 0.2},
}


def _masked(instance: kl.Layer, x: list[object]) -> object:
    return instance(kl.Masking()(x[0]))


def _bidirectional(kind: str, mode: str | None = "concat", sequences: bool = False) -> Any:
    return kl.Bidirectional(getattr(kl, kind)(4, return_sequences=sequences), merge_mode=mode)


def _rnn(cell: str) -> Any:
    return kl.RNN(getattr(kl, cell)(4), return_sequences=True)


CASES = [
    *(
        layer(kind, variant, normal(6, 5), units=4, **options)
        for kind in _KINDS
        for variant, options in _VARIANTS.items()
    ),
    *(layer(kind, "variable length", normal(None, 5), units=4, return_sequences=True) for kind in _KINDS),
    *(layer(kind, "masked, right-padded", padded(6, 5), call=_masked, units=4) for kind in _KINDS),
    *(
        layer(kind, "masked, right-padded, sequences", padded(6, 5), call=_masked, units=4, return_sequences=True)
        for kind in _KINDS
    ),
    *(layer(kind, "masked, left-padded", padded(6, 5, "left"), call=_masked, units=4) for kind in _KINDS),
    *(layer(kind, "masked, with gaps", padded(6, 5, "gaps"), call=_masked, units=4) for kind in _KINDS),
    *(
        layer(
            kind,
            "embedding, mask_zero",
            integers(10, 6),
            call=lambda instance, x: instance(kl.Embedding(10, 4, mask_zero=True)(x[0])),
            units=4,
        )
        for kind in _KINDS
    ),
    *(
        layer(
            kind,
            "initial state",
            normal(6, 5),
            *[normal(4)] * states,
            call=lambda instance, x: instance(x[0], initial_state=x[1:]),
            units=4,
        )
        for kind, states in (("LSTM", 2), ("GRU", 1), ("SimpleRNN", 1))
    ),
    layer("GRU", "reset_after=False", normal(6, 5), units=4, reset_after=False),
    layer("LSTM", "other activations", normal(6, 5), units=4, activation="relu", recurrent_activation="hard_sigmoid"),
    layer("GRU", "other activations", normal(6, 5), units=4, activation="relu", recurrent_activation="hard_sigmoid"),
    *(
        layer(
            "Bidirectional",
            f"{kind} {variant}",
            normal(6, 5),
            make=partial(_bidirectional, kind, sequences=sequences),
        )
        for kind in _KINDS
        for variant, sequences in (("last", False), ("sequences", True))
    ),
    *(
        layer(
            "Bidirectional",
            f"LSTM merged by {mode}",
            normal(6, 5),
            make=partial(_bidirectional, "LSTM", mode),
        )
        for mode in ("sum", "mul", "ave", None)
    ),
    layer(
        "Bidirectional",
        "LSTM masked",
        padded(6, 5),
        make=partial(_bidirectional, "LSTM", sequences=True),
        call=_masked,
    ),
    layer(
        "Bidirectional",
        "GRU masked",
        padded(6, 5),
        make=partial(_bidirectional, "GRU", sequences=True),
        call=_masked,
    ),
    layer(
        "Bidirectional",
        "LSTM variable length",
        normal(None, 5),
        make=partial(_bidirectional, "LSTM", sequences=True),
    ),
    layer(
        "Bidirectional",
        "LSTM and GRU",
        normal(6, 5),
        make=lambda: kl.Bidirectional(kl.LSTM(4), backward_layer=kl.GRU(4, go_backwards=True)),
    ),
    *(
        layer(
            f"{kind}Cell",
            "in RNN",
            normal(6, 5),
            make=partial(_rnn, f"{kind}Cell"),
        )
        for kind in _KINDS
    ),
    layer("RNN", "LSTM cell", normal(6, 5), make=lambda: kl.RNN(kl.LSTMCell(4))),
    layer("RNN", "variable length", normal(None, 5), make=lambda: kl.RNN(kl.GRUCell(4))),
    layer("RNN", "masked", padded(6, 5), make=lambda: kl.RNN(kl.GRUCell(4)), call=_masked),
    layer(
        "StackedRNNCells",
        "LSTM, GRU",
        normal(6, 5),
        make=lambda: kl.RNN(kl.StackedRNNCells([kl.LSTMCell(4), kl.GRUCell(3)])),
    ),
    layer(
        "StackedRNNCells",
        "two LSTM, sequences",
        normal(6, 5),
        make=lambda: kl.RNN([kl.LSTMCell(4), kl.LSTMCell(3)], return_sequences=True),
    ),
    layer("ConvLSTM1D", "last", normal(4, 8, 2), filters=3, kernel_size=3),
    layer(
        "ConvLSTM1D",
        "sequences, same",
        normal(4, 8, 2),
        filters=3,
        kernel_size=3,
        return_sequences=True,
        padding="same",
    ),
    layer("ConvLSTM2D", "last", normal(4, 8, 8, 2), filters=3, kernel_size=3),
    layer(
        "ConvLSTM2D",
        "sequences, same",
        normal(4, 8, 8, 2),
        filters=3,
        kernel_size=3,
        return_sequences=True,
        padding="same",
    ),
    layer("ConvLSTM2D", "strides", normal(4, 8, 8, 2), filters=3, kernel_size=3, strides=2),
    layer("ConvLSTM2D", "variable length", normal(None, 8, 8, 2), filters=3, kernel_size=3),
    layer("ConvLSTM3D", "last", normal(3, 5, 5, 5, 2), filters=2, kernel_size=3),
]
