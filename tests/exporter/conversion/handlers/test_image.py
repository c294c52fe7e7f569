import functools

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.exporter.conversion.converter import convert
from headgate.exporter.errors import ConversionError
from headgate.exporter.libraries import quiet, silent_tensorflow
from headgate.exporter.tracing.traced_models import trace

layers = keras.layers
KERNELS = ["nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5"]


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).uniform(0, 255, (2, 12, 9, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "antialias"), [*((kernel, False) for kernel in KERNELS), ("bilinear", True), ("bicubic", True)]
)
def test_static_sizes(check_close, image, kernel, antialias):
    graph = check_close(layers.Resizing(7, 13, kernel, antialias=antialias), image, atol=1e-3).graph
    # Two matrices and two transpositions; in bilinear interpolation the computation of a shape.
    assert len(graph.node) <= 7


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos5"])
def test_free_sizes_with_antialias(check_close, image, kernel):
    x = keras.Input((None, None, 3))
    check_close(keras.Model(x, layers.Resizing(7, 13, kernel, antialias=True)(x)), image, atol=1e-3)


@pytest.fixture(scope="module")
def any_size():
    """Sessions that resize to any height, by kernel."""
    return functools.cache(_session_to_any_height)


def _session_to_any_height(kernel):
    x = keras.Input((None, 2, 1), name="image")
    rows = keras.Input((), dtype="int32", name="rows")

    class ToRows(layers.Layer):
        def call(self, image, rows):
            return tf.image.resize(image, tf.stack([rows[0], 2]), kernel)

        def compute_output_shape(self, image_shape, rows_shape):
            return (None, None, 2, 1)

    with quiet(), silent_tensorflow():
        model = convert(trace(keras.Model([x, rows], ToRows()(x, rows))))
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.integers(1, 60), after=st.integers(1, 60), kernel=st.sampled_from(KERNELS))
def test_sizes_that_are_known_when_the_model_runs(any_size, before, after, kernel):
    image = np.random.default_rng(before).standard_normal((1, before, 2, 1)).astype(np.float32)
    [actual] = any_size(kernel).run(None, {"image": image, "rows": np.array([after], np.int32)})
    np.testing.assert_allclose(actual, tf.image.resize(image, (after, 2), kernel), rtol=1e-3, atol=1e-4)


def test_nearest_keeps_the_type(check_close, image):
    check_close(layers.Resizing(5, 18, "nearest"), image.astype(np.int32))


@pytest.mark.parametrize("arguments", [{"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True}])
def test_aspect_ratio(check_close, image, arguments):
    check_close(layers.Resizing(6, 10, **arguments), image, atol=1e-3)


def test_up_sampling_and_center_crop(check_close, image):
    check_close(layers.UpSampling2D((2, 3), interpolation="lanczos3"), image, atol=1e-3)
    # It resizes what is smaller.
    check_close(layers.CenterCrop(16, 7), image, atol=1e-3)
    check_close(layers.Resizing(7, 5, data_format="channels_first"), image, atol=1e-3)


def test_areas_with_aligned_corners(check_close, operation, image):
    def resize(x):
        return tf.compat.v1.image.resize(x, (5, 7), tf.compat.v1.image.ResizeMethod.AREA, align_corners=True)

    check_close(operation(resize), image, atol=1e-3)
    x = keras.Input((None, None, 3))
    with pytest.raises(ConversionError, match="by area with aligned corners"):
        check_close(keras.Model(x, operation(resize)(x)), image)
