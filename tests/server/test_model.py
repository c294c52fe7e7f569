"""Loading models: what is refused, and where they run."""

import numpy as np
import onnxruntime
import pytest

from headgate.server import BatchingConfig, ExecutionConfig, ModelConfig, StartupError
from headgate.server.dialects.open_inference_models import describe_config
from headgate.server.model import LoadedModel
from headgate.server.scheduling import InlineScheduler, ThreadScheduler
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    Head,
    MulticlassHead,
    RegressionHead,
)
from headgate.v1.signatures import METADATA_KEY

MULTICLASS = {"activation": ACTIVATION_LOGITS, "multiclass": MulticlassHead(labels=["a", "b", "c"])}
REGRESSION = {"activation": ACTIVATION_LINEAR, "regression": RegressionHead()}
AZURE = "AzureExecutionProvider"
INT_OUTPUT = "g (float[batch,3] x) => (int64[batch,3] y) { y = Cast<to=7>(x) }"
IMAGES = "g (float[batch,4,4] x) => (float[batch,4,4] y) { y = Identity(x) }"
FREE_UNITS = "g (float[batch,n] x) => (float[batch,n] y) { y = Identity(x) }"


@pytest.fixture
def load(tmp_path, write_model):
    """Write a model, load it, and close it after the test."""
    models = []

    def load(name, graph=None, heads=None, config=None, **metadata):
        path = write_model(tmp_path, name, graph, heads, metadata=metadata)
        models.append(LoadedModel(name, 1, path, config or ModelConfig(), "CPUExecutionProvider"))
        return models[-1]

    yield load
    for model in models:
        model.close()


def refusal(load, *arguments, **metadata):
    with pytest.raises(StartupError) as caught:
        load(*arguments, **metadata)
    message = str(caught.value)
    assert "model.onnx: " in message
    assert "\n" not in message
    return message.split("model.onnx: ")[1]


def execution(**entries):
    return ModelConfig(execution=ExecutionConfig(**entries))


class TestHeads:
    def test_order_and_outputs(self, load):
        model = load("twins")
        assert [*model.decoders] == ["total", "pair"]
        assert [list(decoder.reads) for decoder in model.decoders.values()] == [["total"], ["same"]]
        assert model.signature.heads[0].name == "total"
        # This signature names no tensors.
        assert [spec.name for spec in model.signature.inputs] == ["x"]
        assert [spec.name for spec in model.signature.outputs] == ["same", "total"]

    @pytest.mark.parametrize(
        ("graph", "heads", "message"),
        [
            (None, [Head(name="h", output="nothing", **MULTICLASS)],
             "head 'h': output is 'nothing'; the model's outputs are logits"),
            (None, [Head(name="h", output="logits", **MULTICLASS)] * 2, "two heads are named 'h'"),
            (None, [Head(name="h", output="logits", activation=ACTIVATION_LOGITS, multiclass={"labels": ["a", "b"]})],
             "head 'h': multiclass.labels has 2 entries"),
            (None, [Head(name="h", output="logits", **MULTICLASS | {"activation": ACTIVATION_LINEAR})],
             "head 'h': activation is ACTIVATION_LINEAR"),
            (None, [Head(name="h", output="logits")], "head 'h': kind is not set"),
            (None, [Head(name="h", output="logits", activation=ACTIVATION_PROBABILITIES, binary=BinaryHead())],
             "head 'h': "),
            (INT_OUTPUT, [Head(name="h", output="y", **MULTICLASS)],
             "head 'h': output 'y' is INT64 [batch,3]; a head reads floating point numbers"),
            (IMAGES, [Head(name="h", output="y", **REGRESSION)],
             "head 'h': output 'y' is FP32 [batch,4,4]; a regression head reads floating point numbers of shape"),
            (FREE_UNITS, [Head(name="h", output="y", **REGRESSION)], "head 'h': output 'y' has -1 units"),
        ],
    )  # fmt: skip
    def test_refused_at_load(self, load, graph, heads, message):
        assert refusal(load, "iris", graph or "g (float[batch,3] x) => (float[batch,3] logits) "
                       "{ logits = Identity(x) }", heads).startswith(message)  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("no json", f"the metadata under '{METADATA_KEY}' is no signature: "),
            ('{"schema_version": 2}', "the signature has schema version 2, this headgate reads versions up to 1"),
            ("{}", "the signature has no schema_version; export the model again"),
        ],
    )  # fmt: skip
    def test_metadata_refused_at_load(self, load, text, message):
        assert refusal(load, "text", None, (), **{METADATA_KEY: text}).startswith(message)

    def test_model_without_a_signature(self, load):
        model = load("lengths", metadata="of another kind")
        assert model.decoders == {}
        assert [(spec.name, list(spec.shape)) for spec in model.signature.inputs] == [("x", [-1, -1])]
        assert [(spec.name, list(spec.shape)) for spec in model.signature.outputs] == [("y", [-1])]


class TestGraphs:
    def test_fixed_batch_dimension(self, load, caplog):
        graph = "g (float[1,3] x) => (float[1,3] y) { y = Identity(x) }"
        assert refusal(load, "fixed", graph) == (
            "input 'x' has shape [1,3]; its first dimension must be a free batch dimension"
        )
        assert not caplog.records

    @pytest.mark.parametrize(
        ("graph", "shape"),
        [
            ("g (float[batch,3] x) => (float y) { y = ReduceSum<keepdims=0>(x) }", "[]"),
            ("g (float[batch,3] x) => (float[a,b] y) { y = Transpose<perm=[1,0]>(x) }", "[3, 2]"),
        ],
    )
    def test_output_without_the_batch(self, load, graph, shape):
        assert refusal(load, "odd", graph) == (
            f"output 'y' has shape {shape} for a batch of 2 rows; its first dimension must be the batch"
        )

    def test_model_that_zeros_are_no_input_for(self, load, caplog):
        # 0 / 0 of integers is an error.
        graph = "g (int64[batch,1] x) => (int64[batch,1] y) <int64[1] bad = {9}, int64[2] table = {1, 2}> " \
                "{ i = Sub(bad, x) y = Gather(table, i) }"  # fmt: skip
        assert isinstance(load("picky", graph).scheduler, ThreadScheduler)
        assert "cannot be warmed up with zeros" in caplog.text


class TestExecution:
    def test_light_model_runs_inline(self, load):
        assert isinstance(load("iris").scheduler, InlineScheduler)

    def test_heavy_model_runs_on_threads(self, load):
        # 64 rows through 24 layers of 512 x 512 are about a billion multiplications.
        layers = " ".join(f"h{i + 1} = MatMul(h{i}, w)" for i in range(24))
        graph = "g (float[batch,512] h0) => (float[batch,512] h24) <int64[2] size = {512,512}> " \
                f"{{ w = ConstantOfShape(size) {layers} }}"  # fmt: skip
        assert isinstance(load("heavy", graph).scheduler, ThreadScheduler)

    @pytest.mark.parametrize(
        ("config", "scheduler"),
        [
            (execution(mode="inline"), InlineScheduler),
            (execution(mode="threads"), ThreadScheduler),
            (execution(mode="threads", instances=2, intra_op_threads=1), ThreadScheduler),
            # These take threads.
            (execution(instances=2), ThreadScheduler),
            (ModelConfig(batching=BatchingConfig(max_queue_delay_us=1)), ThreadScheduler),
        ],
    )
    def test_config_decides(self, load, config, scheduler):
        assert isinstance(load("iris", config=config).scheduler, scheduler)

    def test_small_models_run_more_rows_at_once(self, load):
        model = load("iris")
        assert 64 <= model.config.batching.max_batch_size <= 1024
        # Of free sizes nobody knows what they take, and what is set is kept.
        assert load("free", FREE_UNITS).config.batching.max_batch_size == 64
        config = ModelConfig(batching=BatchingConfig(max_batch_size=64))
        assert load("set", IMAGES, config=config).config.batching.max_batch_size == 64

    def test_how_many_depends_on_what_they_take(self, load, monkeypatch):
        seconds = {2: 10e-6, 64: 50e-6, 128: 100e-6, 256: 499e-6, 512: 501e-6}
        monkeypatch.setattr("headgate.server.model.time_batch", lambda session, rows, path: seconds[rows])
        assert load("iris").config.batching.max_batch_size == 256

    def test_rows_of_a_slow_model_do_not_wait_for_more_than_pays(self, load, monkeypatch):
        tried = []

        def seconds(session, rows, path):
            tried.append(rows)
            return rows * 0.005

        monkeypatch.setattr("headgate.server.model.time_batch", seconds)
        model = load("iris")
        assert (model.batch_rows, model.config.batching.max_batch_size) == (8, 64)
        # Nobody waits for the load of a model to run its larger batches.
        assert max(tried) == 32
        config = describe_config(model, model.config.versions)
        assert config.dynamic_batching.preferred_batch_size == [8]
        # What is set is kept.
        config = ModelConfig(batching=BatchingConfig(max_batch_size=16))
        model = load("set", IMAGES, config=config)
        assert model.batch_rows == 16
        assert not describe_config(model, config.versions).dynamic_batching.preferred_batch_size

    @pytest.mark.skipif(AZURE not in onnxruntime.get_available_providers(), reason="there is no second provider")
    def test_provider_of_the_model(self, load):
        model = load("iris", config=execution(provider="azure"))
        assert model.provider == AZURE
        # The I/O thread is not to wait for a device.
        assert isinstance(model.scheduler, ThreadScheduler)

    @pytest.mark.parametrize(("instances", "threads", "all_of_them"), [(1, 0, True), (2, 2, True), (3, 1, False)])
    def test_whether_batches_take_all_processors(self, tmp_path, write_model, instances, threads, all_of_them):
        config = execution(mode="threads", instances=instances, intra_op_threads=threads)
        model = LoadedModel("iris", 1, write_model(tmp_path, "iris"), config, "CPUExecutionProvider", processors=4)
        model.close()
        assert model.scheduler._takes_all_processors is all_of_them

    def test_provider_that_is_not_there(self, load, tmp_path):
        with pytest.raises(StartupError) as caught:
            load("iris", config=execution(provider="tpu"))
        start = f"{tmp_path}/iris/config.toml: execution.provider: provider 'tpu' is not available in this onnxruntime"
        assert str(caught.value).startswith(start)

    def test_every_batch_size_is_warm(self, load):
        model = load("iris", config=ModelConfig(
            batching=BatchingConfig(max_batch_size=6), execution=ExecutionConfig(batch_sizes=[1, 2, 6], instances=2)
        ))  # fmt: skip
        assert model.session.batch_sizes == (1, 2, 6)
        assert [sorted(instance._bindings) for instance in model.session._instances] == [[1, 2, 6]] * 2


def test_renderers_are_shared_by_requests_that_want_the_same(load):
    class Kind:
        def __init__(self, model, *arguments):
            self.made_of = (model, *arguments)

    model = load("iris")
    renderer = model.renderer(Kind, "a", 1)
    assert renderer.made_of == (model, "a", 1)
    assert model.renderer(Kind, "a", 1) is renderer
    assert model.renderer(Kind, "a", 2) is not renderer


def test_outputs_of_the_session_it_ends_up_with(load):
    model = load("twins", config=execution(mode="threads"))
    same, total = model.session.run([np.array([[1, 2]], np.float32)])
    assert (same.tolist(), total.tolist()) == ([[1, 2]], [[3]])
