"""Attention."""

from keras import layers as kl

from headgate.benchmarks.coverage.cases import flags, integers, layer, normal


def _self(instance: kl.Layer, x: list[object]) -> object:
    return instance(x[0], x[0])


def _causal(instance: kl.Layer, x: list[object]) -> object:
    return instance(x[0], x[0], use_causal_mask=True)


def _with_mask(instance: kl.Layer, x: list[object]) -> object:
    return instance(x[0], x[0], attention_mask=x[1])


def _embedded(instance: kl.Layer, x: list[object]) -> object:
    embedded = kl.Embedding(10, 6, mask_zero=True)(x[0])
    return instance(embedded, embedded)


CASES = [
    layer("Attention", "query and value", normal(4, 5), normal(6, 5)),
    layer("Attention", "query, value and key", normal(4, 5), normal(6, 5), normal(6, 5)),
    layer("Attention", "scaled", normal(4, 5), normal(6, 5), use_scale=True),
    layer("Attention", "concat", normal(4, 5), normal(6, 5), score_mode="concat"),
    layer("Attention", "causal", normal(4, 5), normal(4, 5), call=lambda i, x: i(x, use_causal_mask=True)),
    layer("Attention", "scores", normal(4, 5), normal(6, 5), call=lambda i, x: i(x, return_attention_scores=True)),
    layer(
        "Attention", "masked", normal(4, 5), normal(6, 5), flags(4), flags(6), call=lambda i, x: i(x[:2], mask=x[2:])
    ),
    layer("AdditiveAttention", "query and value", normal(4, 5), normal(6, 5)),
    layer("AdditiveAttention", "no scale", normal(4, 5), normal(6, 5), use_scale=False),
    layer("MultiHeadAttention", "self", normal(6, 8), call=_self, num_heads=2, key_dim=3),
    layer("MultiHeadAttention", "variable length", normal(None, 8), call=_self, num_heads=2, key_dim=3),
    layer("MultiHeadAttention", "causal", normal(6, 8), call=_causal, num_heads=2, key_dim=3),
    layer("MultiHeadAttention", "causal, variable length", normal(None, 8), call=_causal, num_heads=2, key_dim=3),
    layer("MultiHeadAttention", "mask", normal(6, 8), flags(6, 6), call=_with_mask, num_heads=2, key_dim=3),
    layer("MultiHeadAttention", "mask of an embedding", integers(10, 6), call=_embedded, num_heads=2, key_dim=3),
    layer(
        "MultiHeadAttention",
        "cross",
        normal(4, 8),
        normal(6, 5),
        call=lambda i, x: i(x[0], x[1]),
        num_heads=2,
        key_dim=3,
    ),
    layer(
        "MultiHeadAttention",
        "value_dim, output_shape",
        normal(6, 8),
        call=_self,
        num_heads=2,
        key_dim=3,
        value_dim=4,
        output_shape=7,
    ),
    layer(
        "MultiHeadAttention",
        "over two axes",
        normal(4, 5, 8),
        call=_self,
        num_heads=2,
        key_dim=3,
        attention_axes=(1, 2),
    ),
    layer(
        "MultiHeadAttention",
        "scores",
        normal(6, 8),
        call=lambda i, x: i(x[0], x[0], return_attention_scores=True),
        num_heads=2,
        key_dim=3,
    ),
    layer("MultiHeadAttention", "sliding window", normal(6, 8), call=_self, num_heads=2, key_dim=3, sliding_window=2),
    layer("MultiHeadAttention", "gate", normal(6, 8), call=_self, num_heads=2, key_dim=3, use_gate=True),
    layer(
        "MultiHeadAttention",
        "no flash attention",
        normal(6, 8),
        call=_self,
        num_heads=2,
        key_dim=3,
        flash_attention=False,
    ),
    layer(
        "GroupQueryAttention", "self", normal(6, 8), call=_self, head_dim=3, num_query_heads=4, num_key_value_heads=2
    ),
    layer(
        "GroupQueryAttention",
        "causal",
        normal(6, 8),
        call=_causal,
        head_dim=3,
        num_query_heads=4,
        num_key_value_heads=2,
    ),
    layer(
        "GroupQueryAttention",
        "variable length",
        normal(None, 8),
        call=_self,
        head_dim=3,
        num_query_heads=4,
        num_key_value_heads=2,
    ),
]
