"""config.toml and the settings of a server."""

import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from headgate.server import BatchingConfig, ExecutionConfig, ModelConfig, ServerSettings, StartupError
from headgate.server.config import read_model_config

DEFAULTS = ModelConfig(
    batching=BatchingConfig(max_batch_size=16, max_queue_size=99), execution=ExecutionConfig(mode="threads")
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.toml"


def test_without_a_file_the_defaults_hold(path):
    assert read_model_config(path, DEFAULTS) == DEFAULTS


def test_what_the_file_says_goes_over_the_defaults(path):
    path.write_text("[batching]\nmax_batch_size = 8\nmax_queue_delay_us = 500\n[execution]\ninstances = 2\n")
    config = read_model_config(path, DEFAULTS)
    assert config.batching == BatchingConfig(max_batch_size=8, max_queue_size=99, max_queue_delay_us=500)
    assert config.execution == ExecutionConfig(mode="threads", instances=2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[batching", "is no valid TOML"),
        (
            b"[batching]\nmax_batch_size = 'many'",
            "batching.max_batch_size: Input should be a valid integer, not 'many'",
        ),
        (b"[batching]\nmax_batch_size = '32'", "batching.max_batch_size: Input should be a valid integer, not '32'"),
        (b"[batching]\nmax_batch_size = true", "batching.max_batch_size: Input should be a valid integer, not True"),
        (b"[batching]\nmax_batch_size = 0", "batching.max_batch_size: Input should be greater than .* to 1, not 0"),
        (
            b"[batching]\nmax_batchsize = 1",
            "batching.max_batchsize: there is no such entry; there are max_batch_size, max_queue_size, .*priority$",
        ),
        (
            b"[batch]\nmax_batch_size = 1",
            r"batch: there is no such section; there are \[batching\], \[execution\], \[versions\]$",
        ),
        (b"max_batch_size = 1", r"max_batch_size: there is no such section; there are \[batching\], "),
        (b"batching = 8", r"batching: it is 8; make it a section, \[batching\]$"),
        (b"[batching]\ndefault_priority = 3", ": batching: default_priority is 3; give one of the priority_levels"),
        (b"[execution]\nmode = 'fast'", "execution.mode: Input should be 'auto', 'inline' or 'threads', not 'fast'"),
        (b"[execution]\nintra_op_spinning = 'yes'", "intra_op_spinning: Input should be a valid boolean, not 'yes'"),
        (b"[execution]\ninstances = 0\nintra_op_threads = -1", "execution.instances: .*; execution.intra_op_threads: "),
        (
            b"[execution]\ngraph_optimization_level = 'most'",
            "execution.graph_optimization_level: Input should be 'disab",
        ),
        (b"[execution]\nsession_options = {'session.x' = 1}", "execution.session_options.session.x: Input should be a"),
        (b"[execution]\nbatch_sizes = [0, 64]", "execution.batch_sizes.0: Input should be greater than or equal to 1"),
        (
            b"[execution]\nbatch_sizes = [8, 1, 64]",
            r"execution: .*batch_sizes is \[8, 1, 64\]; give each size once, in asc",
        ),
        (b"[execution]\nbatch_sizes = [1, 1, 64]", r"execution: .*batch_sizes is \[1, 1, 64\]; give each size once"),
        (
            b"[execution]\nbatch_sizes = [1, 8]",
            "config: .*batch_sizes ends with 8, batching.max_batch_size is 16; make",
        ),
        (
            b"[execution]\ncuda_graphs = true\nbatch_sizes = []",
            "execution: .*cuda_graphs needs batch_sizes and io_bind",
        ),
        (b"[execution]\ncuda_graphs = true\nio_binding = false", "execution: .*cuda_graphs needs batch_sizes and io_b"),
        (b"# caf\xe9\n", "is no valid TOML"),
    ],
)
def test_mistakes_are_named(path, content, problem):
    path.write_bytes(content)
    with pytest.raises(StartupError, match=problem) as caught:
        read_model_config(path, DEFAULTS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_execution(path):
    path.write_text("""
        [batching]
        max_batch_size = 48
        [execution]
        provider = "cuda"
        batch_sizes = [1, 16, 48]
        session_options = {"session.set_denormal_as_zero" = "1"}
        [execution.provider_options]
        device_id = 1
        use_tf32 = false
        """)
    execution = read_model_config(path, ModelConfig()).execution
    assert execution.batch_sizes == [1, 16, 48]
    assert execution.session_options == {"session.set_denormal_as_zero": "1"}
    assert list(map(repr, execution.provider_options.values())) == ["1", "False"]


def test_unreadable(path):
    path.mkdir()
    with pytest.raises(StartupError, match=f"{path}: Is a directory"):
        read_model_config(path, DEFAULTS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 65536},
        {"drain_timeout_s": -1},
        {"drain_timeout_s": math.inf},
        {"http_timeout_s": 1e300},
        {"poll_interval_s": math.nan},
        {"worker_timeout_s": 0},
        {"max_message_bytes": 0},
        {"prot": 1},
    ],
)
def test_settings_are_checked(tmp_path, wrong):
    with pytest.raises(ValidationError):
        ServerSettings(repository=tmp_path, **wrong)


def test_settings_are_frozen(tmp_path):
    settings = ServerSettings(repository=tmp_path)
    with pytest.raises(ValidationError):
        settings.port = 1


def test_page_on_settings_names_them_all():
    page = (Path(__file__).parents[2] / "docs/settings.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert named == [*BatchingConfig.model_fields, *ExecutionConfig.model_fields]
