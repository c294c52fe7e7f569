"""SavedModel folders: TensorFlow's format, which Keras 2 saved in and Keras 3 exports to."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from headgate.exporter.errors import ModelLoadError, UnsafeModelError, listed, reason_of
from headgate.exporter.sources.archives import check_folder
from headgate.exporter.sources.entry_points import TensorFunction

DEFAULT_SIGNATURE = "serving_default"

#: Parts of the names of operations that run Python or other code, read or write files, print, or talk to other
#: processes.
_PROGRAM_OP = re.compile(
    "Bigtable|Calibration|CallModule|Collective|Custom|Dataset|Debug|Dump|File|FixedUnigram|ImmutableConst|Iterator"
    "|Library|LoadAndRemap|Print|Proto|Py[Ff]unc|Reader|RecordInput|Recv|Remote|Rpc|Send|Skipgram|Summary|VocabRemapping"
)
#: What a SavedModel needs to be saved again; TensorFlow makes its own to load one.
_CHECKPOINT_OP = re.compile("(Save|Restore)(V2|Slices?)?|MergeV2Checkpoints|ShardedFilename|DistributedSave")


def load_saved_model(folder: Path, signature: str, *, safe_mode: bool) -> TensorFunction:
    """Load one signature of a SavedModel.

    Args:
        folder: with `saved_model.pb`.
        signature: its name.
        safe_mode: refuse programs that do more than compute.

    Raises:
        UnsafeModelError: `safe_mode` refuses what it does.
        ModelLoadError: the folder is damaged or has no such signature.
    """
    import tensorflow as tf

    if safe_mode:
        check_folder(folder)
        _check_program(folder)
    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:
        raise ModelLoadError(f"cannot be loaded as a SavedModel: {reason_of(error)}") from error
    functions = dict(loaded.signatures)
    if signature not in functions:
        raise ModelLoadError(
            f"has no signature '{signature}', but {listed(sorted(functions)) or 'none'}; choose one with signature="
        )
    return TensorFunction(folder.name, loaded, functions[signature])


def _check_program(folder: Path) -> None:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise ModelLoadError(f"has a damaged saved_model.pb: {reason_of(error)}") from error
    # Of these TensorFlow restores the variables by itself; of older ones it runs what the file says.
    version_2 = [meta_graph.HasField("object_graph_def") for meta_graph in saved_model.meta_graphs] == [True]
    for meta_graph in saved_model.meta_graphs:
        for asset in meta_graph.asset_file_def:
            path = PurePosixPath(asset.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise ModelLoadError(f"has an asset '{asset.filename}', which leads out of the folder")
        saver_nodes = _saver_nodes_of(meta_graph) if version_2 else set()
        savers = _savers_of(meta_graph, saver_nodes)
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                _check_node(node, savers, in_saver=function.signature.name in savers)
        for node in meta_graph.graph_def.node:
            _check_node(node, savers, in_saver=node.name in saver_nodes)


def _saver_nodes_of(meta_graph: Any) -> set[str]:
    saver = meta_graph.saver_def
    return {saver.save_tensor_name.partition(":")[0], saver.restore_op_name}


def _savers_of(meta_graph: Any, saver_nodes: set[str]) -> set[str]:
    """Return the functions that save and restore all variables, unless something else can call them, too."""
    called = {node.attr["f"].func.name for node in meta_graph.graph_def.node if node.name in saver_nodes}
    objects = meta_graph.object_graph_def
    callable_names = set(objects.concrete_functions)
    for node in objects.nodes:
        callable_names |= {*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name}
    return called - {""} - callable_names


def _check_node(node: Any, savers: set[str], *, in_saver: bool) -> None:
    calls = {function.name for value in node.attr.values() for function in (value.func, *value.list.func)}
    checkpoint = bool(_CHECKPOINT_OP.fullmatch(node.op))
    if (not in_saver if checkpoint else _PROGRAM_OP.search(node.op)) or (calls & savers and not in_saver):
        raise UnsafeModelError(f"has an operation '{node.name}' ({node.op}) that does more than compute")


def function_of(source: Any, signature: str | None) -> TensorFunction | None:
    """Take a tf.function, a ConcreteFunction, or the function of a tf.Module; None for any other object.

    Args:
        source: the object.
        signature: the name of the module's method; default: `__call__`.

    Raises:
        ModelLoadError: the module has no such tf.function.
    """
    import tensorflow as tf

    kinds = (tf.types.experimental.PolymorphicFunction, tf.types.experimental.ConcreteFunction)
    if isinstance(source, kinds):
        name = getattr(source, "__name__", None) or source.name
        return TensorFunction(re.sub(r"<|>", "", name), source, source)
    if not isinstance(source, tf.Module):
        return None
    function = getattr(source, signature or "__call__", None)
    if not isinstance(function, kinds):
        there = [name for name in dir(type(source)) if isinstance(getattr(type(source), name, None), kinds)]
        raise ModelLoadError(
            f"tf.Module '{source.name}' has no tf.function '{signature or '__call__'}', but {listed(there) or 'none'}; "
            "choose one with signature="
        )
    return TensorFunction(source.name, source, function)
