"""What a model's configuration would do when Keras builds the model of it.

A configuration names classes and functions, and Keras calls them. Its safe mode has been got round again and again
(CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9905, CVE-2025-9906, CVE-2025-12058, CVE-2025-49655,
CVE-2026-1462), so that configurations are read here first, and only what is known to be harmless passes.

Messages are the rest of a sentence that begins with the file's name.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from headgate.exporter.errors import ModelLoadError, UnsafeModelError, reason_of

#: A vocabulary of ten million words fits.
_MAX_BYTES = 2**28
#: Models in models in models take about six levels each.
_MAX_DEPTH = 200

_PACKAGES = ("keras", "keras_hub", "keras_cv", "keras_nlp", "tf_keras")
#: Where functions without side effects live, and classes that are parts of models.
_FUNCTION_MODULES = ("activations", "constraints", "initializers", "losses", "metrics", "ops", "random", "regularizers")
_CLASS_MODULES = (
    *_FUNCTION_MODULES,
    *("dtype_policies", "engine", "layers", "mixed_precision", "models", "optimizers", "quantizers", "src"),
)
#: Layers that hold a program, the last two of Keras 2.
_PROGRAMS = {
    "TFSMLayer": "a TensorFlow SavedModel",
    "TorchModuleWrapper": "a pickled PyTorch module",
    "TensorFlowOpLayer": "a TensorFlow operation",
    "ClassMethod": "a method of TensorFlow",
}
#: Where layers take the name of a file; Keras itself writes what is in it, or leaves that to the model's assets.
_FILES = ("vocabulary", "merges", "proto")
#: What TensorFlow operations, as layers of Keras 2, may be: all others could read files or run Python.
_TENSORFLOW_FUNCTION = re.compile(
    r"(compat\.v1\.)?(__operators__|bitwise|dtypes|image|linalg|math|nn|random|signal|strings)(\.\w+)+"
    r"|compat\.v1\.(argmax|argmin|concat|expand_dims|gather|gather_nd|pad|reduce_\w+|squeeze|transpose|where)"
    r"|(?!py_function|numpy_function|load_|print)\w+"
)


def read_config(text: str | bytes) -> Any:
    """Parse a model's configuration.

    Raises:
        ModelLoadError: it is no JSON, or larger or more deeply nested than any model's.
    """
    if len(text) > _MAX_BYTES:
        raise ModelLoadError(f"has a configuration of {len(text) >> 20} MiB, more than any model needs")
    too_deep = f"has a configuration of more than {_MAX_DEPTH} levels, more than any model needs"
    try:
        config = json.loads(text)
    except RecursionError:
        raise ModelLoadError(too_deep) from None
    except ValueError as error:
        raise ModelLoadError(f"has a configuration that is no JSON: {reason_of(error)}") from error
    if any(depth > _MAX_DEPTH for depth, _ in _walk(config)):
        raise ModelLoadError(too_deep)
    return config


def check_config(config: Any, known: Collection[str] = ()) -> None:
    """Refuse a configuration that runs code or reads files when a model is built of it or called.

    Args:
        config: as `read_config` returns it.
        known: the names of the classes and functions that the caller vouches for.

    Raises:
        UnsafeModelError: it does.
        ModelLoadError: it uses a class of another package that is not among `known`.

    >>> check_config({"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}})
    >>> check_config({"module": "keras.utils", "class_name": "function", "config": "get_file"})
    Traceback (most recent call last):
    headgate.exporter.errors.UnsafeModelError: calls 'keras.utils.get_file', which is no part of a model
    """
    for _, node in _walk(config):
        if isinstance(node, dict):
            _check_node(node, known)


def _check_node(node: dict[str, Any], known: Collection[str]) -> None:
    name, inner = node.get("class_name"), node.get("config")
    if name is None:
        return
    if not isinstance(name, str):
        raise ModelLoadError(f"has a class called {json.dumps(name)[:40]} in its configuration")
    # Keras has special names, so that these come before the classes that are known.
    if name == "__lambda__":
        raise UnsafeModelError("holds code (a lambda)")
    if name == "function":
        _check_function(node.get("module"), inner, known)
    elif name == "Lambda":
        _check_lambda(inner if isinstance(inner, dict) else {}, known)
    elif name in _PROGRAMS:
        raise UnsafeModelError(f"holds code ({_PROGRAMS[name]} in {_layer(inner)})")
    elif name in ("TFOpLambda", "SlicingOpLambda"):
        function = inner.get("function") if isinstance(inner, dict) else None
        if not isinstance(function, str) or not _TENSORFLOW_FUNCTION.fullmatch(function):
            raise UnsafeModelError(f"calls 'tf.{function}', which is no part of a model")
    elif name == "__typespec__":
        if str(node.get("module")).partition(".")[0] not in ("tensorflow", *_PACKAGES):
            raise UnsafeModelError(f"takes a type from '{node.get('module')}'")
    elif not re.fullmatch(r"__\w+__", name) and not _is_known(node.get("registered_name", name), known):
        _check_class(name, node.get("module"), node.get("registered_name"))
        for key in _FILES:
            if isinstance(inner, dict) and isinstance(inner.get(key), str):
                raise UnsafeModelError(f"reads the {key} of {_layer(inner)} from the file '{inner[key]:.100}'")


def _check_lambda(config: dict[str, Any], known: Collection[str]) -> None:
    """Lambda layers call a function: their own code, or one that is looked up by name."""
    functions = [config.get(key) for key in ("function", "output_shape", "mask")]
    for function, kind in zip(functions, ("function_type", "output_shape_type", "mask_type"), strict=True):
        coded = isinstance(function, dict) and function.get("class_name") != "function"
        if coded or config.get(kind) == "lambda" or (function is functions[0] and isinstance(function, list)):
            raise UnsafeModelError(f"holds code (a Lambda layer) in layer '{config.get('name')}'")
        if isinstance(function, str) and not _is_known(function, known):
            raise UnsafeModelError(f"calls '{function}' in its Lambda layer '{config.get('name')}'")


def _check_function(module: object, name: object, known: Collection[str]) -> None:
    if _is_known(name, known):
        return
    package, _, rest = str(module or "builtins").partition(".")
    harmless = package == "builtins" or (package in _PACKAGES and rest.split(".")[0] in _FUNCTION_MODULES)
    if not harmless or not re.fullmatch(r"(?!get$|deserialize)\w+", str(name)):
        raise UnsafeModelError(f"calls '{module}.{name}', which is no part of a model")


def _check_class(name: str, module: object, registered_name: object) -> None:
    package, _, rest = str(module or "keras").partition(".")
    if package not in _PACKAGES or (module is None and registered_name):
        raise ModelLoadError(unknown_object(name))
    part_of_model = not rest or rest.split(".")[0] in _CLASS_MODULES or package not in ("keras", "tf_keras")
    # Legacy optimizers are called Custom>RMSprop.
    if not re.fullmatch(r"(\w+>)?[A-Z]\w*", name) or not (part_of_model or f"{rest}.{name}" == "utils.FeatureSpace"):
        raise UnsafeModelError(f"uses '{module}.{name}', which is no part of a model")


def _is_known(name: object, known: Collection[str]) -> bool:
    return isinstance(name, str) and name in known


def unknown_object(name: str) -> str:
    """Say that a class or function is not known, and what to do."""
    return (
        f"uses '{name}', which is not known here; say where it is with custom_objects='module:{name}', or hand over "
        "the loaded model itself"
    )


def _layer(config: Any) -> str:
    return f"layer '{config['name']}'" if isinstance(config, dict) and "name" in config else "a layer"


def _walk(config: Any) -> Iterator[tuple[int, Any]]:
    """Yield every value in a configuration with its depth, the outer ones first; no recursion."""
    rest = [(0, config)]
    while rest:
        depth, value = rest.pop()
        yield depth, value
        if isinstance(value, dict):
            rest += [(depth + 1, inner) for inner in value.values()]
        elif isinstance(value, list):
            rest += [(depth + 1, inner) for inner in value]
