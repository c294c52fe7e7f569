"""What onnxruntime makes of a model when it loads it, written to a file."""

from pathlib import Path
from typing import Literal

from headgate.exporter.model_files import DATA_FILE, SINGLE_FILE_BYTES, size_of


def write_optimized(
    source: Path, target: Path, level: Literal["basic", "extended"] = "extended", provider: str = "CPUExecutionProvider"
) -> None:
    """Write the graph of a model as onnxruntime rewrites it.

    Args:
        source: an ONNX file.
        target: the file to write, with `DATA_FILE` beside it where the weights are too large for one.
        level: "basic", or "extended" with what is faster on the provider; the layouts of "all" are for one kind of
            processor.
        provider: a full provider name.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = {"basic": levels.ORT_ENABLE_BASIC, "extended": levels.ORT_ENABLE_EXTENDED}[level]
    options.optimized_model_filepath = str(target)
    if size_of(source) > SINGLE_FILE_BYTES:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", DATA_FILE)
    onnxruntime.InferenceSession(source, options, providers=[provider])
