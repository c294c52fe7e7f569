import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.exporter.conversion.converter import convert
from headgate.exporter.errors import VerificationError
from headgate.exporter.proof import keras_runs
from headgate.exporter.proof.keras_runs import run_keras
from headgate.exporter.proof.sessions import SERVED_LEVEL
from headgate.exporter.proof.tolerances import PRECISIONS, is_telling, measured, movements, precision_of, tolerance_of
from headgate.exporter.proof.verification import batch_remarks, remarks, verify
from headgate.exporter.tracing.traced_models import trace
from headgate.server import ExecutionConfig
from headgate.v1 import ACTIVATION_LOGITS, Head, MulticlassHead, Tolerance

layers = keras.layers


def test_integers_stay_inside_the_vocabulary(traced):
    """An index past the end would fail in onnxruntime and read zeros in TensorFlow."""
    model = keras.Sequential([keras.Input((5,), dtype="int32"), layers.Embedding(2, 3), layers.Flatten()])
    traced_model = traced(model)
    checks = verify(traced_model, convert(traced_model).SerializeToString()).checks
    assert [check.batch_size for check in checks] == [1, 3, 17]


def test_free_dimensions_suit_networks_that_halve_images(traced):
    image = keras.Input((None, None, 1), name="image")
    half = layers.Conv2D(2, 3, strides=2, padding="same")(image)
    joined = layers.Concatenate()([image, layers.UpSampling2D()(half)])
    traced_model = traced(keras.Model(image, layers.Conv2D(1, 1)(joined)))
    assert verify(traced_model, convert(traced_model).SerializeToString()).checks


def test_examples_replace_random_inputs_that_keras_refuses(traced, rng):
    picky = keras.Input((2,), name="x")
    model = keras.Model(picky, layers.Dense(1, name="y")(PositiveOnly()(picky)))
    traced_model = traced(model)
    onnx_bytes = convert(traced_model).SerializeToString()
    refused = r"the Keras model itself fails on random inputs of 17 rows: .*Condition x >= 0 did not hold.*examples="
    with pytest.raises(VerificationError, match=refused):
        verify(traced_model, onnx_bytes)
    checks = verify(traced_model, onnx_bytes, {"x": np.abs(rng.normal(size=(2, 2))).astype("float32")}).checks
    assert {check.inputs for check in checks} == {"given"}


class PositiveOnly(layers.Layer):
    def call(self, x):
        import tensorflow as tf

        if tf.executing_eagerly():
            tf.debugging.assert_non_negative(x)
        return x


def test_a_file_that_does_not_load_is_refused(traced, dense):
    with pytest.raises(VerificationError, match="onnxruntime cannot load the model"):
        verify(traced(dense()), b"no model")


@pytest.fixture
def changed():
    """Convert a model and change a weight of the ONNX model, found by its shape."""

    def change(traced_model, shape, change):
        model = convert(traced_model)
        weight = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == shape)
        wrong = change(onnx.numpy_helper.to_array(weight))
        assert wrong.dtype == np.float32
        weight.CopyFrom(onnx.numpy_helper.from_array(wrong, weight.name))
        return model.SerializeToString()

    return change


def test_a_wrong_weight_is_found(traced, dense, changed):
    traced_model = traced(dense(2))
    wrong = (
        r"output 'out' differs at batch size (1|3|17), random inputs: ONNX gives \S+ instead of \S+ in row \d+ at "
        r"\[[01]\], allowed is \S+ \+ 0.0001 of the value \(float32\); the first layer that differs is 'out' "
        r"\(Dense\): max error \S+; nothing was written"
    )
    with pytest.raises(VerificationError, match=wrong) as caught:
        verify(traced_model, changed(traced_model, [4, 2], lambda kernel: kernel * np.float32(1.001)))
    assert "\n" not in str(caught.value)


def test_a_wrong_operation_is_found(traced):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(2, name="y")])
    traced_model = traced(model)
    onnx_model = convert(traced_model)
    next(node for node in onnx_model.graph.node if node.op_type == "Relu").op_type = "Softplus"
    with pytest.raises(VerificationError, match="output 'y' differs at"):
        verify(traced_model, onnx_model.SerializeToString())


def test_an_output_of_another_shape_is_found(traced):
    flat, other = (
        traced(keras.Sequential([keras.Input((2, 3), name="x"), layers.Reshape(shape, name="y")]))
        for shape in ((6,), (3, 2))
    )
    with pytest.raises(VerificationError, match=r"output 'y' at .*: ONNX gives shape \[1, 3, 2\] instead of"):
        verify(flat, convert(other).SerializeToString())


def test_the_checks_say_all_there_is_to_know(traced, two_heads, rng):
    traced_model = traced(two_heads())
    examples = {"numbers": rng.normal(size=(2, 4)).astype("float32"), "words": rng.integers(0, 6, (2, 9), "int32")}
    verification = verify(traced_model, convert(traced_model).SerializeToString(), examples)
    assert [check.output for check in verification.checks] == ["price"] * 6 + ["species"] * 6
    assert [check.inputs for check in verification.checks[:6]] == ["random"] * 3 + ["given"] * 3
    sizes = [[(free.input, free.axis, free.size) for free in check.free_sizes] for check in verification.checks[:6]]
    assert sizes == [[("words", 1, size)] for size in (15, 10, 5, 9, 9, 9)]
    assert {len(check.worst_element) for check in verification.checks} == {2}
    assert all(0 <= check.tolerance_used < 1 for check in verification.checks)
    assert verification.checks[0].spread == 0 < verification.checks[1].spread
    assert [(one.output, one.rule, one.relative) for one in verification.tolerances] == [
        ("price", "float32", 1e-4),
        ("species", "float32", 1e-4),
    ]
    assert all(0 < one.absolute < one.tf32_absolute < 0.1 for one in verification.tolerances)


def test_the_level_is_that_of_servers(traced, dense):
    assert ExecutionConfig().graph_optimization_level == SERVED_LEVEL
    traced_model = traced(dense())
    onnx_bytes = convert(traced_model).SerializeToString()
    assert verify(traced_model, onnx_bytes).graph_optimization_level == SERVED_LEVEL
    assert verify(traced_model, onnx_bytes, level="basic").graph_optimization_level == "basic"


def test_a_file_is_verified_like_bytes(traced, dense, tmp_path):
    traced_model = traced(dense())
    onnx.save(convert(traced_model), tmp_path / "model.onnx")
    assert verify(traced_model, tmp_path / "model.onnx").checks


def test_free_sizes_that_have_to_be_equal(traced):
    tokens, mask = keras.Input((None,), name="tokens"), keras.Input((None,), name="mask")
    traced_model = traced(keras.Model([tokens, mask], layers.Multiply()([tokens, mask])))
    checks = verify(traced_model, convert(traced_model).SerializeToString()).checks
    assert [{free.size for free in check.free_sizes} for check in checks] == [{15}, {10}, {5}]


def test_free_sizes_that_are_large(traced):
    """Five convolutions without padding, each with every second position, need 63 of them."""
    stack = [keras.Input((None, 1)), *(layers.Conv1D(1, 3, strides=2) for _ in range(5)), layers.GlobalMaxPooling1D()]
    traced_model = traced(keras.Sequential(stack))
    checks = verify(traced_model, convert(traced_model).SerializeToString()).checks
    assert [check.free_sizes[0].size for check in checks] == [192, 128, 64]


def test_free_sizes_of_a_model_that_takes_no_more(traced):
    """Positions that are embedded end somewhere: where Keras refuses other sizes, the same are tried again."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    traced_model = traced(keras.Model(tokens, layers.GlobalAveragePooling1D()(Positions()(tokens))))
    assert [run.free_sizes[0].size for run in run_keras(traced_model)] == [5, 5, 5]


class Positions(layers.Layer):
    def __init__(self):
        super().__init__()
        self.table = layers.Embedding(6, 3)

    def call(self, tokens):
        return self.table(keras.ops.broadcast_to(keras.ops.arange(keras.ops.shape(tokens)[1]), keras.ops.shape(tokens)))


def test_shapes_are_inferred_as_seldom_as_possible(traced, monkeypatch):
    """That traces the model anew, which takes seconds for a large one."""
    inferred = []
    infer_shapes = keras_runs._infer_shapes
    monkeypatch.setattr(keras_runs, "_infer_shapes", lambda *arguments: inferred.append(0) or infer_shapes(*arguments))
    run_keras(traced(keras.Sequential([keras.Input((None, 1)), layers.Conv1D(1, 3)])))
    assert len(inferred) == 1
    run_keras(traced(keras.Sequential([keras.Input((4,)), layers.Dense(1)])))
    assert len(inferred) == 1


def test_sizes_too_small_for_a_pooling_layer(traced):
    """TensorFlow ends the process when it pools these."""
    model = keras.Sequential([keras.Input((None, 1)), layers.MaxPooling1D(8, strides=2), layers.GlobalMaxPooling1D()])
    assert [run.free_sizes[0].size for run in run_keras(traced(model))] == [24, 16, 8]


def test_text_is_made_up(traced):
    lookup = layers.StringLookup(vocabulary=["red", "green"], mask_token=None)
    model = keras.Sequential([keras.Input((2,), dtype="string"), lookup, layers.Embedding(3, 2), layers.Flatten()])
    traced_model = traced(model)
    (first, *_) = run_keras(traced_model)
    assert {type(word) for array in first.inputs.values() for word in array.ravel()} == {str}
    assert verify(traced_model, convert(traced_model).SerializeToString()).checks


class Amplified(layers.Layer):
    """Turns one unit in the last place into many."""

    def call(self, x):
        return keras.ops.sin(1e3 * x)


def test_an_ill_conditioned_model_is_compared_by_how_far_keras_moves(traced, changed):
    stack = [keras.Input((64,)), layers.Dense(64, "tanh"), Amplified(), layers.Dense(3, name="y")]
    traced_model = traced(keras.Sequential(stack))
    runs = run_keras(traced_model)
    verification = verify(traced_model, convert(traced_model).SerializeToString(), runs=runs)
    (tolerance,) = verification.tolerances
    assert tolerance.rule.startswith("float32, ill-conditioned: Keras' own output moves by ")
    (remark,) = remarks(verification, runs)
    assert remark.startswith("output 'y' was compared by another rule than usual: float32, ill-conditioned")
    with pytest.raises(VerificationError, match="output 'y' differs"):
        verify(traced_model, changed(traced_model, [64, 3], lambda kernel: kernel * np.float32(1.2)), runs=runs)


def test_answers_of_text(traced):
    lookup = layers.StringLookup(vocabulary=["a", "b"], invert=True)
    traced_model = traced(keras.Sequential([keras.Input((3,), dtype="int64"), lookup]))
    verification = verify(traced_model, convert(traced_model).SerializeToString())
    assert [tolerance.rule for tolerance in verification.tolerances] == ["equal"]


def test_an_unstable_model_says_so(traced, changed):
    stack = [keras.Input((8,)), layers.Dense(8, "tanh"), *[Amplified() for _ in range(4)], layers.Dense(3, name="y")]
    traced_model = traced(keras.Sequential(stack))
    unstable = r"Keras' own output moves by \S+ when weights and inputs change .*, so that nothing can be proven"
    with pytest.raises(VerificationError, match=unstable):
        verify(traced_model, changed(traced_model, [8, 3], lambda kernel: kernel * np.float32(1.2)))


def test_an_output_that_hardly_varies_is_compared_more_strictly(traced, changed):
    """An error that is small beside the output, but not beside what the model says of its inputs."""
    stack = [
        keras.Input((4,)),
        layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-5)),
        layers.Dense(3, name="y", bias_initializer="ones"),
    ]
    traced_model = traced(keras.Sequential(stack))
    runs = run_keras(traced_model)
    verification = verify(traced_model, convert(traced_model).SerializeToString(), runs=runs)
    assert verification.tolerances[0].rule.startswith("float32, hardly varies: ")
    with pytest.raises(VerificationError, match=r"output 'y' differs .*hardly varies"):
        verify(traced_model, changed(traced_model, [4, 4], lambda kernel: kernel * 2), runs=runs)


def test_an_output_that_never_varies_is_remarked_upon(traced):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_initializer="zeros", bias_initializer="ones")])
    traced_model = traced(model)
    runs = run_keras(traced_model)
    (remark, *_) = remarks(verify(traced_model, convert(traced_model).SerializeToString(), runs=runs), runs)
    assert (
        "is nearly the same whatever the model was asked (it varies by 0), so that its equality says little" in remark
    )


def test_outputs_that_depend_on_the_rest_of_the_batch_are_remarked_upon(traced):
    x, text = keras.Input((4,), name="x"), keras.Input((1,), dtype="string", name="text")
    words = layers.TextVectorization(vocabulary=["fox"])(text)
    dense = layers.Dense(2, name="own")(x)
    centred = layers.Subtract(name="centred")([dense, keras.ops.mean(dense, axis=0, keepdims=True)])
    traced_model = traced(keras.Model([x, text], [dense, centred, words]))
    runs = run_keras(traced_model)
    verification = verify(traced_model, convert(traced_model).SerializeToString(), runs=runs)
    (remark,) = batch_remarks(traced_model, verification, runs)
    words_name = traced_model.outputs[2].name
    assert remark.startswith(f"Keras answers a row of output 'centred', '{words_name}' otherwise when other rows are")


def test_weights_are_what_they_were_after_the_measurement(traced, dense):
    model = dense(3)
    traced_model = traced(model)
    before = [weight.numpy() for weight in model.weights]
    moved = movements(traced_model, run_keras(traced_model), 2.0**-10)
    assert moved["out"].shape == (3,)
    assert ((moved["out"] > 0) & (moved["out"] < 0.1)).all()
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_labels_that_change_are_counted(traced):
    """Between scores within the tolerance of each other the other one may win."""
    stack = [keras.Input((2,), name="x"), layers.Dense(2, name="y", kernel_initializer=keras.initializers.Ones())]
    traced_model = traced(keras.Sequential(stack))
    head = Head(
        name="y", output="y", activation=ACTIVATION_LOGITS, multiclass=MulticlassHead(labels=["first", "second"])
    )
    onnx_model = convert(traced_model)
    bias = onnx.helper.make_tensor("nudge", onnx.TensorProto.FLOAT, [2], [0, 1e-3])
    onnx_model.graph.initializer.append(bias)
    onnx_model.graph.node[-1].output[0] = "before"
    onnx_model.graph.node.append(onnx.helper.make_node("Add", ["before", "nudge"], ["y"]))
    loose = PRECISIONS["float16"]
    checks = verify(traced_model, onnx_model.SerializeToString(), heads=[head], precision=loose).checks
    assert [check.changed_labels for check in checks] == [1, 3, 17]
    assert not any(
        check.changed_labels for check in verify(traced_model, convert(traced_model).SerializeToString()).checks
    )


@pytest.mark.parametrize(
    ("inputs", "policy", "outputs", "expected"),
    [
        ("float32", "float32", "float32", "float32"),
        ("float64", "float64", "float64", "float64"),
        ("float64", "float64", "float32", "float32"),
        ("float32", "mixed_float16", "float32", "float16"),
        ("float32", "mixed_bfloat16", "float32", "bfloat16"),
        ("float32", "float32", "float16", "float16"),
    ],
)
@pytest.mark.parametrize("in_function", [False, True])
def test_precision_is_the_coarsest_type(traced, inputs, policy, outputs, expected, in_function):
    x = keras.Input((4,), dtype=inputs)
    y = layers.Dense(2, dtype=policy)(x)
    if in_function:
        y = layers.Lambda(tf.function(lambda y: y + 1), dtype=policy)(y)
    traced_model = traced(keras.Model(x, layers.Activation("linear", dtype=outputs)(y)))
    (run, *_) = run_keras(traced_model)
    (output,) = run.outputs.values()
    assert precision_of(traced_model, output).name == expected


def test_integers_have_no_tolerance():
    for outputs in ([np.array([1, 2])], [np.array([True])], [np.array(["a"], object)]):
        assert tolerance_of("y", outputs, PRECISIONS["float32"]) == Tolerance(output="y", rule="equal")


@given(
    hnp.arrays(np.float32, (3, 2), elements=st.floats(-1e3, 1e3, width=32)),
    st.sampled_from(list(PRECISIONS.values())),
    st.floats(0, 1),
)
def test_what_is_measured_always_says_something(outputs, precision, movement):
    usual = tolerance_of("y", [outputs], precision)
    found = measured(usual, [outputs], movement, precision)
    if found is not None and is_telling(usual, [outputs]):
        assert usual.absolute <= found.absolute <= 0.05 * np.ptp(outputs, axis=0).max()
    elif found is not None:
        assert found.absolute <= usual.absolute + usual.relative * np.abs(outputs).max()


def test_a_model_without_finite_numbers_says_nothing(traced):
    x = keras.Input((2,), name="x")
    traced_model = traced(keras.Model(x, layers.Lambda(lambda x: x * float("nan"), name="y")(x)))
    with pytest.raises(VerificationError, match=r"output 'y': Keras gives no finite number.*give examples="):
        verify(traced_model, convert(traced_model).SerializeToString())


@pytest.mark.parametrize("large_bytes", [1, 2**18])
def test_a_training_that_diverged(large_bytes):
    model = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(1, 3, name="broken")])
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(
        VerificationError, match=r"since the weight '\S*broken/kernel' holds NaN: the training diverged"
    ):
        run_keras(trace(model, large_bytes=large_bytes))


def test_an_output_without_elements(traced):
    x = keras.Input((2,), name="x")
    traced_model = traced(keras.Model(x, [x[:, :0], layers.Dense(1, name="y")(x)]))
    (run, *_) = run_keras(traced_model)
    moved = movements(traced_model, [run], 2.0**-10)
    assert [moved[name].tolist() == [0] for name in run.outputs] == [True, False]


def test_a_small_unit_beside_a_large_one(traced, changed):
    """What is allowed of a price in the thousands is more than a share ever is."""
    stack = [keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(2), layers.Rescaling([1e6, 1.0], name="y")]
    traced_model = traced(keras.Sequential(stack))
    (tolerance,) = verify(traced_model, convert(traced_model).SerializeToString()).tolerances
    assert tolerance.absolute > 1 > 0.1 > tolerance.unit_absolute[1] > 0
    assert tolerance.unit_absolute[0] == tolerance.absolute
    wrong = changed(traced_model, [8, 2], lambda kernel: kernel * np.array([1, 0.8], np.float32))
    with pytest.raises(VerificationError, match=r"output 'y' differs .* at \[1\], allowed is 0\.0"):
        verify(traced_model, wrong)


def test_units_are_alike_in_most_models(traced):
    """Few features of a pretrained network are near zero for all inputs, and no probability is judged by its size."""
    image = keras.Input((12, 12, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 3, activation="relu")(image))
    probabilities = layers.Dense(200, "softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=20))(
        features
    )
    traced_model = traced(keras.Model(image, [features, probabilities]))
    tolerances = verify(traced_model, convert(traced_model).SerializeToString()).tolerances
    assert [len(tolerance.unit_absolute) for tolerance in tolerances] == [0, 0]


def test_probabilities_of_many_classes_in_float16(traced):
    """Each is smaller than what half precision is allowed near 1."""
    keras.config.set_dtype_policy("mixed_float16")
    stack = [
        keras.Input((16,)),
        layers.Dense(32, "relu"),
        layers.Dense(1000),
        layers.Softmax(dtype="float32", name="y"),
    ]
    traced_model = traced(keras.Sequential(stack))
    onnx_model = convert(traced_model)
    assert verify(traced_model, onnx_model.SerializeToString()).checks
    next(node for node in onnx_model.graph.node if node.op_type == "Relu").op_type = "Abs"
    with pytest.raises(VerificationError, match="output 'y' differs"):
        verify(traced_model, onnx_model.SerializeToString())


def test_large_rows_come_in_small_batches(traced):
    """What layers make of 17 photographs takes gigabytes."""
    signal = keras.Input((2**12, 2**7), name="signal")
    traced_model = traced(keras.Model(signal, layers.Dense(1)(layers.GlobalAveragePooling1D()(signal))))
    examples = {"signal": np.ones((2, 2**12, 2**7), np.float32)}
    assert [run.rows for run in run_keras(traced_model, examples)] == [1, 3, 5, 1, 3, 5]


def test_integer_images_are_resized_as_model_predict_resizes_them(traced, rng):
    """Called eagerly, Keras rounds the resized pixels to integers again."""
    image = keras.Input((9, 9, 3), dtype="uint8", name="image")
    traced_model = traced(keras.Model(image, layers.Rescaling(1 / 255, name="y")(layers.Resizing(4, 5)(image))))
    images = rng.integers(0, 256, (3, 9, 9, 3)).astype(np.uint8)
    expected = traced_model.model.predict(images, verbose=0)
    np.testing.assert_allclose(traced_model.predict({"image": images})["y"], expected, rtol=1e-5)
    assert verify(traced_model, convert(traced_model).SerializeToString(), {"image": images}).checks
