"""onnxruntime sessions: files, devices, types."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.server import ExecutionConfig, StartupError
from headgate.server.binding import HostMemory
from headgate.server.session import Session, _Instance, example_inputs
from headgate.v1 import DataType
from headgate.v1.tensors import BFLOAT16, NUMPY_DTYPES, convert, widened

CPU = "CPUExecutionProvider"
AZURE = "AzureExecutionProvider"
#: Tells each row how many there are.
COUNT = (
    "g (float[batch,1] x) => (float[batch,1] y) <int64[1] first = {0}> "
    "{ zeros = Sub(x, x) ones = Exp(zeros) total = ReduceSum<keepdims=1>(ones, first) y = Add(zeros, total) }"
)
LSTM = (
    "g (float[batch,5,2] x) => (float[batch,3] y) "
    "<int64[3] sizes = {1,12,2}, int64[3] own = {1,12,3}, int64[1] zero = {0}> "
    "{ w = ConstantOfShape(sizes) r = ConstantOfShape(own) steps = Transpose<perm = [1,0,2]>(x) "
    "all, last, cell = LSTM<hidden_size = 3>(steps, w, r) y = Squeeze(last, zero) }"
)
needs_no_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)
needs_azure = pytest.mark.skipif(
    AZURE not in onnxruntime.get_available_providers(), reason="this onnxruntime has no second provider"
)


def test_onnxruntime_sends_nothing_to_its_makers(tmp_path):
    """Where it does, it keeps files of it."""
    others = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    folders = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import headgate.server.session"], env=others | folders, check=True)
    assert list(tmp_path.iterdir()) == []


@needs_no_cuda
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_session_asserts_its_device(tmp_path, write_model):
    path = write_model(tmp_path, "iris")
    with pytest.raises(StartupError, match="was to run on CUDAExecutionProvider, but onnxruntime fell back to CPU"):
        Session(path, "CUDAExecutionProvider", 1)
    assert Session(path, "CUDAExecutionProvider", 1, allow_cpu_fallback=True).provider == CPU


def test_run(tmp_path, write_model):
    session = Session(write_model(tmp_path, "twins"), CPU, 1)
    assert session.provider == CPU
    assert [(spec.name, list(spec.shape)) for spec in session.inputs] == [("x", [-1, 2])]
    assert [(spec.name, list(spec.shape)) for spec in session.outputs] == [("same", [-1, 2]), ("total", [-1, 1])]
    same, total = session.run([np.array([[1, 2], [3, 4]], np.float32)])
    assert same.tolist() == [[1, 2], [3, 4]]
    assert total.tolist() == [[3], [7]]
    assert "headgate.signature" in session.metadata


@pytest.mark.parametrize("batch_sizes", [None, [4, 8]])
def test_no_rows(tmp_path, write_model, batch_sizes):
    """onnxruntime's recurrent kernels abort the process when they get none."""
    lstm = make(write_model(tmp_path, "lstm", LSTM), batch_sizes=batch_sizes)
    (hidden,) = lstm.run([np.zeros((0, 5, 2), np.float32)])
    assert (hidden.shape, hidden.dtype) == ((0, 3), np.float32)
    (text,) = make(write_model(tmp_path, "text"), batch_sizes=batch_sizes).run([np.empty((0, 1), object)])
    assert (text.shape, text.dtype) == ((0, 1), object)
    (sums,) = make(write_model(tmp_path, "lengths"), batch_sizes=batch_sizes).run([np.zeros((0, 7), np.float32)])
    assert sums.shape == (0,)


@pytest.mark.parametrize("content", [b"", b"this is no model", None], ids=["empty", "text", "missing"])
def test_file_that_is_no_model(tmp_path, content):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match=f"{path} cannot be loaded by onnxruntime: ") as caught:
        Session(path, CPU, 1)
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path, write_model):
    path = write_model(tmp_path, "iris")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StartupError, match="cannot be loaded"):
        Session(path, CPU, 1)


def test_type_that_cannot_be_served(tmp_path, write_model):
    path = write_model(tmp_path, "odd", "g (seq(float[n]) x) => (seq(float[n]) y) { y = Identity(x) }")
    with pytest.raises(StartupError, match=r"'x' is a seq\(tensor\(float\)\), which headgate cannot serve"):
        Session(path, CPU, 1)


class TestBfloat16:
    ROWS = np.array([[1, -2.5, 3e38], [np.inf, 2**-130, 0]], np.float32)
    GRAPHS: ClassVar = {
        "bound": "g (bfloat16[batch,3] x) => (bfloat16[batch,3] y) { y = Identity(x) }",
        "not bound": "g (bfloat16[batch,n] x) => (bfloat16[batch,n] y) { y = Identity(x) }",
        "taken": "g (bfloat16[batch,n] x) => (float[batch,n] y) { y = Cast<to = 1>(x) }",
        "given": "g (float[batch,n] x) => (bfloat16[batch,n] y) { y = Cast<to = 16>(x) }",
        "passed on": "g (bfloat16[batch,n] x, float[batch,n] z) => (bfloat16[batch,n] x, float[batch,n] y) "
        "{ y = Identity(z) }",
    }

    @pytest.mark.parametrize("name", GRAPHS)
    @pytest.mark.parametrize("batch_sizes", [None, [4, 8]])
    def test_run(self, tmp_path, write_model, name, batch_sizes):
        session = make(write_model(tmp_path, "m", self.GRAPHS[name]), batch_sizes=batch_sizes)
        assert (session._instances[0]._bound_rows > 0) == (name == "bound")
        narrow = convert(self.ROWS, BFLOAT16)[0]
        inputs = {"taken": [narrow], "given": [self.ROWS], "passed on": [narrow, widened(narrow)]}.get(name, [narrow])
        for rows in (2, 1, 0):
            outputs = session.run([array[:rows] for array in inputs])
            assert [output.dtype for output in outputs] == [NUMPY_DTYPES[spec.datatype] for spec in session.outputs]
            for output in outputs:
                np.testing.assert_array_equal(widened(output), widened(narrow)[:rows])

    def test_outputs_are_the_callers_to_keep(self, tmp_path, write_model):
        for name, graph in self.GRAPHS.items():
            session = make(write_model(tmp_path, name, graph))
            rows = [convert(np.full((1, 3), i, np.float32), BFLOAT16)[0] for i in range(3)]
            if name == "given":
                rows = [widened(row) for row in rows]
            answers = [session.run([row, widened(row)] if name == "passed on" else [row])[0] for row in rows]
            assert [widened(answer).tolist() for answer in answers] == [[[i] * 3] for i in range(3)]

    def test_text_beside_it(self, tmp_path, write_model):
        graph = (
            "g (bfloat16[batch] x, string[batch] t) => ({}[batch] y, string[batch] u) {{ y = {}(x) u = Identity(t) }}"
        )
        text = np.array(["a", "ü"], object)
        session = make(write_model(tmp_path, "taken", graph.format("float", "Cast<to = 1>")))
        y, u = session.run([convert(np.array([1, 2]), BFLOAT16)[0], text])
        assert (y.tolist(), u.tolist()) == ([1, 2], text.tolist())
        with pytest.raises(StartupError) as caught:
            make(write_model(tmp_path, "given", graph.format("bfloat16", "Identity")))
        assert str(caught.value).endswith(
            "input 't' is text and output 'y' is bfloat16, which onnxruntime cannot run together from Python; have the "
            "model cast the output to float32"
        )

    def test_text_that_comes_of_it(self, tmp_path, write_model):
        graph = (
            "g (bfloat16[batch] x) => (bfloat16[batch] y, string[batch] u) "
            "{ y = Identity(x) z = Cast<to = 1>(x) u = Cast<to = 8>(z) }"
        )
        y, u = make(write_model(tmp_path, "m", graph)).run([convert(np.array([1, 2.5]), BFLOAT16)[0]])
        assert (widened(y).tolist(), u.tolist()) == ([1, 2.5], ["1", "2.5"])


def test_example_inputs(tmp_path, write_model):
    def examples(name):
        return example_inputs(Session(write_model(tmp_path, name), CPU, 1).inputs, 3)

    a, b = examples("sums")
    assert (a.shape, a.dtype, b.shape, b.dtype) == ((3, 2), np.float32, (3, 1), np.int32)
    (text,) = examples("text")
    assert text.tolist() == [[""]] * 3
    (lengths,) = examples("lengths")
    assert lengths.shape == (3, 1)


@pytest.mark.parametrize(("onnx_name", "data_type"), [("float16", "FP16"), ("bool", "BOOL"), ("uint64", "UINT64")])
def test_types(tmp_path, write_model, onnx_name, data_type):
    session = Session(write_model(tmp_path, f"same_{onnx_name}"), CPU, 1)
    assert session.inputs[0].datatype == DataType.Value(f"DATA_TYPE_{data_type}")
    (example,) = example_inputs(session.inputs, 2)
    assert session.run([example])[0].dtype == example.dtype


def make(path, batch=8, **execution):
    return Session(path, CPU, 1, False, ExecutionConfig(**execution), batch)


class TestOptions:
    def options(self, path, **execution):
        return make(path, **execution)._instances[0]._session.get_session_options()

    def test_defaults(self, tmp_path, write_model):
        options = self.options(write_model(tmp_path, "iris"))
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
        assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        assert options.enable_cpu_mem_arena
        assert options.enable_mem_pattern
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"

    def test_shapes_without_end_are_not_remembered(self, tmp_path, write_model):
        path = write_model(tmp_path, "lengths")
        assert not self.options(path).enable_mem_pattern
        assert self.options(path, memory_pattern=True).enable_mem_pattern

    def test_given(self, tmp_path, write_model):
        options = self.options(
            write_model(tmp_path, "iris"), graph_optimization_level="basic", inter_op_threads=2,
            intra_op_spinning=True, memory_arena=False, memory_pattern=False,
            session_options={"session.set_denormal_as_zero": "1"},
        )  # fmt: skip
        assert options.inter_op_num_threads == 2
        assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
        assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        assert not options.enable_cpu_mem_arena
        assert not options.enable_mem_pattern
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
        assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"

    @pytest.mark.parametrize("entry", [{"": "1"}, {"session.disable_cpu_ep_fallback": "1"}], ids=["empty", "conflict"])
    def test_that_onnxruntime_refuses(self, tmp_path, write_model, entry):
        path = write_model(tmp_path, "iris")
        with pytest.raises(StartupError, match=f"{path} cannot be loaded by onnxruntime: ") as caught:
            make(path, session_options=entry)
        assert "\n" not in str(caught.value)


@needs_azure
class TestStrictness:
    """Azure's provider takes only nodes of its own, so that the CPU is left with all others."""

    def test_what_the_provider_cannot_run(self, tmp_path, write_model):
        session = Session(write_model(tmp_path, "iris"), AZURE, 1)
        assert session.provider == AZURE
        assert session.batch_sizes == ()
        (logits,) = session.run([np.eye(4, dtype=np.float32)])
        assert logits.shape == (4, 3)

    def test_nothing_may_run_on_the_cpu(self, tmp_path, write_model, caplog):
        path = write_model(tmp_path, "iris")
        execution = ExecutionConfig(session_options={"session.disable_cpu_ep_fallback": "1"})
        with pytest.raises(StartupError, match="fallback to CPU EP has been explicitly disabled"):
            Session(path, AZURE, 1, False, execution)
        assert Session(path, AZURE, 1, True, execution).provider == CPU
        assert "explicitly disabled by the user.; running on the CPU instead" in caplog.text


class TestBatchSizes:
    @pytest.mark.parametrize("io_binding", [True, False])
    @pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 4), (3, 4), (4, 4), (5, 8), (8, 8), (9, 9)])
    def test_next_size(self, tmp_path, write_model, io_binding, rows, size):
        session = make(write_model(tmp_path, "count", COUNT), batch_sizes=[1, 4, 8], io_binding=io_binding)
        (count,) = session.run([np.zeros((rows, 1), np.float32)])
        assert count.tolist() == [[size]] * rows

    def test_none_on_the_cpu(self, tmp_path, write_model):
        session = make(write_model(tmp_path, "count", COUNT))
        assert session.batch_sizes == ()
        assert session.run([np.zeros((3, 1), np.float32)])[0].tolist() == [[3]] * 3

    @pytest.mark.parametrize("name", ["sums", "text", "lengths", "same_float16", "same_int64"])
    def test_every_kind_of_tensor(self, tmp_path, write_model, name):
        path = write_model(tmp_path, name)
        session, plain = make(path, batch_sizes=[4, 8]), make(path, io_binding=False)
        for rows in (1, 3, 4, 7):
            inputs = [
                np.array([f"{i}" for i in range(array.size)], object).reshape(array.shape) if array.dtype == object
                else np.arange(array.size).reshape(array.shape).astype(array.dtype)
                for array in example_inputs(session.inputs, rows)
            ]  # fmt: skip
            for output, expected in zip(session.run(inputs), plain.run(inputs), strict=True):
                assert output.dtype == expected.dtype
                assert output.tolist() == expected.tolist()

    def test_every_size_is_warmed_up_in_every_instance(self, tmp_path, write_model):
        session = make(write_model(tmp_path, "iris"), batch_sizes=[1, 2, 8], instances=3)
        session.warm_up(8)
        assert [sorted(instance._bindings) for instance in session._instances] == [[1, 2, 8]] * 3


class TestBinding:
    @pytest.fixture(scope="class")
    @staticmethod
    def sessions(tmp_path_factory, write_model):
        path = write_model(tmp_path_factory.mktemp("twins"), "twins")
        return [make(path, 16), make(path, 16, batch_sizes=[4, 16]), make(path, 16, io_binding=False)]

    @given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
    def test_any_sizes_one_after_another(self, sessions, sizes, seed):
        rng = np.random.default_rng(seed)
        batches = [rng.integers(-99, 99, (rows, 2)).astype(np.float32) for rows in sizes]
        for session in sessions:
            # All are kept until the end, as answers that are still to be made keep them.
            results = [session.run([batch]) for batch in batches]
            for batch, (same, total) in zip(batches, results, strict=True):
                assert np.array_equal(same, batch)
                assert np.array_equal(total, batch.sum(1, keepdims=True))

    @pytest.mark.parametrize("instances", [1, 3])
    def test_many_threads(self, tmp_path, write_model, instances):
        session = make(write_model(tmp_path, "twins"), instances=instances)
        together = threading.Barrier(4)

        def run(thread):
            together.wait()
            for step in range(300):
                batch = np.full((1 + step % 8, 2), 1000 * thread + step, np.float32)
                same, total = session.run([batch])
                assert np.array_equal(same, batch)
                assert np.array_equal(total, 2 * batch[:, :1])

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(run, range(4)))

    @pytest.mark.parametrize(
        ("name", "graph"),
        [
            ("text", None),
            ("lengths", None),
            ("twice as many rows", "g (float[batch,1] x) => (float[rows,1] y) { y = Concat<axis=0>(x, x) }"),
            ("no name", "g (float[?,1] x) => (float[?,1] y) { y = Concat<axis=0>(x, x) }"),
            ("an input", "g (float[batch,1] x) => (float[batch,1] x, float[batch,1] y) { y = Add(x, x) }"),
        ],
    )
    def test_models_that_it_is_not_for(self, tmp_path, write_model, name, graph):
        path = write_model(tmp_path, "model", graph) if graph else write_model(tmp_path, name)
        with pytest.raises(StartupError, match=f"{path}: execution.io_binding takes tensors whose sizes are fixed"):
            make(path, io_binding=True)
        session = make(path)
        session.warm_up(8)
        assert not session._instances[0]._bindings

    def test_large_batches_are_not_copied_on_the_cpu(self, tmp_path, write_model):
        graph = "g (float[batch,1024] x) => (float[batch,1024] y) { y = Relu(x) }"
        path = write_model(tmp_path, "wide", graph)
        for session, sizes in ((make(path), [1]), (make(path, io_binding=True), [1, 8])):
            session.warm_up(8)
            assert list(session._instances[0]._bindings) == sizes

    def test_a_run_that_fails_leaves_the_instance_to_others(self, tmp_path, write_model):
        session = make(write_model(tmp_path, "lookup"))
        for _ in range(2):
            with pytest.raises(Exception, match="Gather"):
                session.run([np.array([[9]])])
            assert session.run([np.array([[2]])])[0].tolist() == [[20]]


def test_cuda_graphs_run_on_the_thread_that_captures_them(tmp_path, write_model):
    class WatchedMemory(HostMemory):
        is_host = False
        threads: ClassVar[set[int]] = set()

        def upload(self, arrays, values):
            self.threads.add(threading.get_ident())

    session = make(write_model(tmp_path, "twins"))
    instance = _Instance(session._instances[0]._session, WatchedMemory(), session.inputs, session.outputs, 8, True)
    for _ in range(3):
        with ThreadPoolExecutor(1) as threads:
            _, total = threads.submit(instance.run, [np.ones((3, 2), np.float32)], 3, 4).result()
        assert total.tolist() == [[2]] * 3
    assert len(WatchedMemory.threads) == 1
    with pytest.raises(ValueError, match="broadcast"):
        instance.run([np.ones((4, 3), np.float32)], 4, 4)


def test_cuda_graphs_are_of_bound_batches(tmp_path, write_model):
    class WatchedSession(onnxruntime.InferenceSession):
        graphs: ClassVar[list[str]] = []

        def run(self, output_names, input_feed, run_options=None):
            self.graphs.append(run_options.get_run_config_entry("gpu_graph_id"))
            return super().run(output_names, input_feed, run_options)

    path = write_model(tmp_path, "twins")
    session = make(path)
    watched = WatchedSession(path.read_bytes(), providers=[CPU])
    instance = _Instance(watched, HostMemory(), session.inputs, session.outputs, 8, True)
    for rows in (8, 9):
        _, total = instance.run([np.ones((rows, 2), np.float32)], rows, rows)
        assert total.tolist() == [[2]] * rows
    assert watched.graphs == ["-1"]


def test_cuda_graphs_are_for_cuda(tmp_path, write_model):
    with pytest.raises(StartupError, match=r"execution.cuda_graphs is for the provider cuda, not cpu"):
        make(write_model(tmp_path, "iris"), cuda_graphs=True)
