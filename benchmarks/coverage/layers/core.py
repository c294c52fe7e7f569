"""Dense layers, embeddings, activations as layers, regularisation, wrappers."""

import tempfile

import keras
import tensorflow as tf
from keras import layers as kl

from headgate.benchmarks.coverage.cases import integers, layer, normal, pixels


def _saved_model_layer() -> keras.layers.Layer:
    model = keras.Sequential([keras.Input((4,)), kl.Dense(3)])
    folder = tempfile.mkdtemp(prefix="headgate-coverage-")
    model.export(folder, format="tf_saved_model", verbose=False)
    return kl.TFSMLayer(folder, call_endpoint="serve")


CASES = [
    layer("Dense", "plain", normal(5), units=3),
    layer("Dense", "no bias", normal(5), units=3, use_bias=False),
    layer("Dense", "sequence", normal(6, 5), units=3),
    layer("Dense", "variable sequence", normal(None, 5), units=3),
    layer("Dense", "rank 4", normal(2, 3, 5), units=3),
    layer("Dense", "gelu", normal(5), units=3, activation="gelu"),
    layer("Dense", "softmax", normal(5), units=3, activation="softmax"),
    layer("Dense", "lora", normal(5), units=3, lora_rank=2),
    layer("EinsumDense", "2D", normal(6, 5), equation="abc,cd->abd", output_shape=(None, 4), bias_axes="d"),
    layer("EinsumDense", "heads", normal(6, 5), equation="abc,cde->abde", output_shape=(None, 2, 4), bias_axes="de"),
    layer("EinsumDense", "ellipsis", normal(2, 6, 5), equation="...x,xy->...y", output_shape=4, bias_axes="y"),
    layer("EinsumDense", "mixes time", normal(6, 5), equation="abc,bd->adc", output_shape=(4, 5)),
    layer("Embedding", "int32", integers(10, 6), input_dim=10, output_dim=4),
    layer("Embedding", "int64", integers(10, 6, dtype="int64"), input_dim=10, output_dim=4),
    layer(
        "Embedding", "floats as indices", integers(10, 6, dtype="float32"), examples=True, input_dim=10, output_dim=4
    ),
    layer("Embedding", "variable length", integers(10, None), input_dim=10, output_dim=4),
    layer("Embedding", "mask_zero", integers(10, 6), input_dim=10, output_dim=4, mask_zero=True),
    layer(
        "Embedding",
        "mask_zero, pooled",
        integers(10, 6),
        make=lambda: keras.Sequential([kl.Embedding(10, 4, mask_zero=True), kl.GlobalAveragePooling1D()]),
    ),
    layer("ReversibleEmbedding", "forward", integers(10, 6), input_dim=10, output_dim=4),
    layer(
        "ReversibleEmbedding",
        "reverse",
        normal(6, 4),
        call=lambda instance, x: (instance(keras.ops.zeros((1, 1), "int32")), instance(x[0], reverse=True))[1],
        input_dim=10,
        output_dim=4,
    ),
    layer(
        "ReversibleEmbedding",
        "there and back, untied, soft cap",
        integers(10, 6),
        call=lambda instance, x: instance(instance(x[0]), reverse=True),
        input_dim=10,
        output_dim=4,
        tie_weights=False,
        logit_soft_cap=5.0,
    ),
    layer("Activation", "tanh", normal(5), activation="tanh"),
    layer("Activation", "gelu", normal(5), activation="gelu"),
    layer("ReLU", "plain", normal(5)),
    layer("ReLU", "capped", normal(5), max_value=1.0),
    layer("ReLU", "slope and threshold", normal(5), max_value=1.0, negative_slope=0.1, threshold=0.2),
    layer("LeakyReLU", "plain", normal(5)),
    layer("LeakyReLU", "slope", normal(5), negative_slope=0.05),
    layer("PReLU", "plain", normal(6, 5)),
    layer("PReLU", "shared axes", normal(6, 6, 5), shared_axes=[1, 2]),
    layer("ELU", "plain", normal(5)),
    layer("ELU", "alpha", normal(5), alpha=0.5),
    layer("Softmax", "plain", normal(5)),
    layer("Softmax", "axis 1", normal(6, 5), axis=1),
    layer("Softmax", "two axes", normal(6, 5), axis=(1, 2)),
    layer(
        "Softmax",
        "mask",
        normal(5),
        call=lambda instance, x: instance(x[0], mask=keras.ops.greater(x[0], -0.5)),
    ),
    layer("Identity", "plain", normal(5)),
    layer("Identity", "integers", integers(10, 5)),
    layer("InputLayer", "plain", normal(5), make=lambda: kl.Dense(3)),
    layer("Lambda", "arithmetic", normal(5), function=lambda x: x * 2 + 1),
    layer("Lambda", "tensorflow", normal(5), function=lambda x: tf.nn.l2_normalize(x, axis=-1)),
    layer("Masking", "plain", normal(6, 5), mask_value=0.0),
    layer("ActivityRegularization", "plain", normal(5), l2=0.1),
    layer("Dropout", "plain", normal(5), rate=0.5),
    layer("AlphaDropout", "plain", normal(5), rate=0.5),
    layer("GaussianDropout", "plain", normal(5), rate=0.5),
    layer("GaussianNoise", "plain", normal(5), stddev=0.5),
    layer("SpatialDropout1D", "plain", normal(6, 5), rate=0.5),
    layer("SpatialDropout2D", "plain", normal(6, 6, 5), rate=0.5),
    layer("SpatialDropout3D", "plain", normal(4, 4, 4, 5), rate=0.5),
    layer("TimeDistributed", "Dense", normal(6, 5), make=lambda: kl.TimeDistributed(kl.Dense(3))),
    layer("TimeDistributed", "Dense, variable time", normal(None, 5), make=lambda: kl.TimeDistributed(kl.Dense(3))),
    layer("TimeDistributed", "Conv2D", normal(4, 8, 8, 3), make=lambda: kl.TimeDistributed(kl.Conv2D(2, 3))),
    layer(
        "TimeDistributed",
        "Conv2D, variable time",
        normal(None, 8, 8, 3),
        make=lambda: kl.TimeDistributed(kl.Conv2D(2, 3)),
    ),
    layer("TimeDistributed", "Flatten", normal(4, 3, 2), make=lambda: kl.TimeDistributed(kl.Flatten())),
    layer("SpectralNormalization", "Dense", normal(5), make=lambda: kl.SpectralNormalization(kl.Dense(3))),
    layer("SpectralNormalization", "Conv2D", normal(8, 8, 3), make=lambda: kl.SpectralNormalization(kl.Conv2D(2, 3))),
    layer("TFSMLayer", "serve", normal(4), make=_saved_model_layer),
    layer("Rescaling", "to one", pixels(8, 8, 3), scale=1 / 255),
    layer("Rescaling", "offset", pixels(8, 8, 3), scale=1 / 127.5, offset=-1),
    layer("Rescaling", "by channel", pixels(8, 8, 3), scale=[0.1, 0.2, 0.3], offset=[1.0, 2.0, 3.0]),
    layer("Rescaling", "bytes", pixels(8, 8, 3, dtype="uint8"), scale=1 / 255),
    layer(
        "Pipeline",
        "two layers",
        pixels(8, 8, 3),
        make=lambda: kl.Pipeline([kl.Rescaling(1 / 255), kl.CenterCrop(4, 4)]),
    ),
]
