import pytest

from headgate.server.message_limit import largest_message_bytes

MIB = 1024 * 1024
MARGIN = 64 * 1024


def image(dims, kind="float"):
    return f"g ({kind}[{dims}] x) => ({kind}[{dims}] y) {{ y = Identity(x) }}"


@pytest.fixture
def limit(tmp_path, write_model):
    def limit(*graphs, max_batch_size=64):
        files = [write_model(tmp_path, f"m{index}", graph) for index, graph in enumerate(graphs)]
        return largest_message_bytes((file, max_batch_size) for file in files)

    return limit


def test_small_models_get_the_least(limit):
    assert limit(image("batch,10")) == 16 * MIB + MARGIN


def test_four_batches_of_the_largest_rows(limit):
    assert limit(image("batch,10"), image("batch,256,256,3")) == 4 * 64 * 256 * 256 * 3 * 4 + MARGIN


def test_sum_of_the_inputs_and_their_types(limit):
    pair = "g (double[n,1000,1000] a, int8[n,1000] b) => (double[n,1000,1000] y) { y = Identity(a) }"
    assert limit(pair, max_batch_size=2) == 4 * 2 * (8 * 1000 * 1000 + 1000) + MARGIN


@pytest.mark.parametrize("graph", [image("batch,n"), image("batch,1", "string")], ids=["free size", "text"])
def test_rows_without_a_fixed_size(limit, graph):
    assert limit(graph) == 64 * MIB + MARGIN


def test_what_is_no_model(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "empty.onnx").touch()
    for name in ("model.onnx", "empty.onnx", "missing.onnx"):
        assert largest_message_bytes([(tmp_path / name, 1)]) == 64 * MIB + MARGIN


def test_initializers_and_names_are_skipped(limit):
    graph = (
        "g (float[batch,4] x) => (float[batch,3] y) <float[4,3] w = {1,0,0, 0,1,0, 0,0,1, 0,0,0}> { y = MatMul(x, w) }"
    )
    assert limit(graph, max_batch_size=2**20) == 4 * 2**20 * 16 + MARGIN
