"""On a CUDA device: it is what runs the models, and it answers as the CPU does. `make gpu-check` runs these."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from headgate.benchmarks.cuda_devices import cuda_devices
from headgate.benchmarks.models import IMAGE, LAYERS, write_cnn, write_mlp
from headgate.server import BatchingConfig, ExecutionConfig, ModelConfig, StartupError, cuda
from headgate.server.cuda import CudaMemory
from headgate.server.model import LoadedModel
from headgate.server.scheduling import ThreadScheduler
from headgate.server.session import Session

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not cuda_devices(), reason="no CUDA device")]
MODELS = {"mlp": (write_mlp, LAYERS[:1]), "cnn": (write_cnn, IMAGE)}
#: TF32, which is on by default, keeps 10 bits.
EXACT = {"provider_options": {"use_tf32": 0}}
HALF = "g (float16[batch,64] x) => (float16[batch,64] y) { s = Relu(x) y = Add(s, x) }"
#: Determinants are for the CPU alone.
DETERMINANT = "g (float[batch,2,2] x) => (float[batch] y) { y = Det(x) }"


def make(path, provider=CUDA, batch=64, **execution):
    return Session(path, provider, 1, False, ExecutionConfig(**execution), batch)


def inputs(shape, rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, *shape)).astype(np.float32)


@pytest.fixture(params=MODELS)
def model(request, tmp_path):
    """The path of a model, and the shape of its rows."""
    write, shape = MODELS[request.param]
    return write(tmp_path), shape


@pytest.mark.parametrize("execution", [{}, {"io_binding": False}, {"cuda_graphs": True}, {"batch_sizes": []}], ids=str)
def test_as_on_the_cpu(model, execution):
    path, shape = model
    session, cpu = make(path, **EXACT, **execution), make(path, CPU)
    assert session.provider == CUDA
    session.warm_up(64)
    # Each size twice, so that a replayed graph has to read what is new.
    for seed, rows in enumerate((1, 3, 8, 64, 33, 8, 1)):
        batch = inputs(shape, rows, seed)
        (logits,), (expected,) = session.run([batch]), cpu.run([batch])
        assert np.allclose(logits, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_no_rows(model, cuda_graphs):
    path, shape = model
    session, cpu = make(path, cuda_graphs=cuda_graphs, **EXACT), make(path, CPU)
    session.warm_up(64)
    # As often as it takes to capture and replay a graph, were it one; then others must still read what is new.
    for _ in range(4):
        assert session.run([inputs(shape, 0)])[0].shape == cpu.run([inputs(shape, 0)])[0].shape
    for seed, rows in enumerate((1, 64, 1)):
        batch = inputs(shape, rows, seed)
        assert np.allclose(session.run([batch])[0], cpu.run([batch])[0], rtol=1e-3, atol=1e-3)


def test_only_sizes_that_are_known_take_memory(model):
    path, shape = model
    for sizes in ([], [4]):
        session = make(path, batch_sizes=sizes)
        for rows in range(1, 9):
            session.run([inputs(shape, rows)])
        assert sorted(session._instances[0]._bindings) == sizes
    with pytest.raises(StartupError, match=r"execution\.io_binding needs batch_sizes on cuda"):
        make(path, batch_sizes=[], io_binding=True)


def test_every_size_is_warmed_up(model):
    session = make(model[0], batch=48, instances=2)
    assert session.batch_sizes == (1, 2, 4, 8, 16, 32, 48)
    session.warm_up(48)
    assert [tuple(sorted(instance._bindings)) for instance in session._instances] == [session.batch_sizes] * 2


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_instances_run_side_by_side(model, cuda_graphs):
    path, shape = model
    session, cpu = make(path, instances=3, cuda_graphs=cuda_graphs, **EXACT), make(path, CPU)
    session.warm_up(64)
    batches = [inputs(shape, 1 + seed % 20, seed) for seed in range(60)]
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda batch: session.run([batch])[0], batches))
    for batch, logits in zip(batches, results, strict=True):
        assert np.allclose(logits, cpu.run([batch])[0], rtol=1e-3, atol=1e-3)


def test_half_precision(tmp_path, write_model):
    session = make(write_model(tmp_path, "half", HALF))
    batch = inputs((64,), 5).astype(np.float16)
    (output,) = session.run([batch])
    assert output.dtype == np.float16
    assert np.allclose(output, np.maximum(batch, 0) + batch, atol=2e-3)


def test_rows_of_any_length(tmp_path, write_model):
    session = make(write_model(tmp_path, "lengths"), **EXACT)
    for length in (1, 7, 300):
        batch = inputs((length,), 3)
        assert np.allclose(session.run([batch])[0], batch.sum(1), atol=1e-4)


def test_an_input_that_the_cpu_reads(tmp_path, write_model):
    session = make(write_model(tmp_path, "determinant", DETERMINANT))
    session.warm_up(64)
    for seed in range(3):
        batch = inputs((2, 2), 4, seed)
        assert np.allclose(session.run([batch])[0], np.linalg.det(batch), atol=1e-4)


def test_loaded_model(model):
    loaded = LoadedModel("model", 1, model[0], ModelConfig(batching=BatchingConfig(max_batch_size=16)), CUDA)
    try:
        assert loaded.provider == CUDA
        assert isinstance(loaded.scheduler, ThreadScheduler)
        assert sorted(loaded.session._instances[0]._bindings) == [1, 2, 4, 8, 16]
    finally:
        loaded.close()


def test_served(tmp_path, write_model, serve, connect, infer_request):
    write_model(tmp_path, "iris")
    write_model(tmp_path, "half", HALF)
    calls = connect(serve(tmp_path, provider="cuda"))
    response = calls.infer(infer_request("iris", x=np.eye(4, dtype=np.float32)))
    assert np.frombuffer(response.raw_output_contents[0], "<f4").reshape(4, 3).tolist() == np.eye(4, 3).tolist()
    response = calls.infer(infer_request("half", x=np.full((2, 64), 0.25, np.float16)))
    assert np.frombuffer(response.raw_output_contents[0], "<f2").tolist() == [0.5] * 128


def test_a_device_that_is_not_there(model, caplog):
    with pytest.raises(StartupError, match="cannot be loaded by onnxruntime"):
        make(model[0], provider_options={"device_id": 99})
    execution = ExecutionConfig(provider_options={"device_id": 99})
    assert Session(model[0], CUDA, 1, True, execution).provider == CPU
    assert "running on the CPU instead" in caplog.text


def test_an_option_that_is_not_there(model):
    with pytest.raises(StartupError, match="nonsense"):
        make(model[0], provider_options={"nonsense": 1})


def test_page_locked_memory(model):
    make(model[0])
    memory = CudaMemory(0)
    array = memory.empty((3, 5), np.dtype(np.float16))
    assert (array.shape, array.dtype) == ((3, 5), np.float16)
    flags = ctypes.c_uint()
    assert cuda._runtime().cudaHostGetFlags(ctypes.byref(flags), ctypes.c_void_p(array.ctypes.data)) == 0
    array[...] = np.arange(15).reshape(3, 5)
    value = memory.value(array)
    memory.upload([array], [value])
    back = memory.empty((3, 5), array.dtype)
    memory.download([value], [back])
    assert np.array_equal(back, array)
