"""Handlers of TensorFlow operations that tf2onnx lacks or maps wrongly, by subject.

A module of this folder has `HANDLERS`, from the operation's type to the function that replaces its node, and may have
`ADVICE`, from the operation's type to what a user can do where it stays without a counterpart.
"""

import functools
from collections.abc import Callable
from typing import Any

from headgate.exporter.conversion.handlers import (
    characters,
    convolution,
    error_function,
    hashing,
    image,
    lookups,
    math,
    recurrent,
    signal,
    text,
)
from headgate.exporter.conversion.handlers.nodes import replacing

#: Called with tf2onnx's graph, the node, and the keyword arguments that tf2onnx gives its own handlers.
Handler = Callable[..., None]

_MODULES: tuple[Any, ...] = (
    characters,
    convolution,
    error_function,
    hashing,
    image,
    lookups,
    math,
    recurrent,
    signal,
    text,
)

HANDLERS: dict[str, Handler] = {op: handler for module in _MODULES for op, handler in module.HANDLERS.items()}
ADVICE: dict[str, str] = {op: advice for module in _MODULES for op, advice in getattr(module, "ADVICE", {}).items()}


@functools.cache
def register(opset: int) -> None:
    """Give the handlers to tf2onnx, in place of its own for graphs of this operator set and newer ones."""
    from tf2onnx.handler import tf_op

    for op, handler in HANDLERS.items():
        tf_op(op).register_compat_handler(functools.partial(_replace, handler), opset)


def _replace(handler: Handler, ctx: Any, node: Any, **keywords: Any) -> None:
    with replacing(node):
        handler(ctx, node, **keywords)
