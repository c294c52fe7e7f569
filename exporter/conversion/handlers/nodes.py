"""What handlers do with tf2onnx's graph, again and again. Tensors are called by their names."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from numpy.typing import NDArray

#: The name of the node that is being replaced.
_replaced: ContextVar[tuple[str, ...]] = ContextVar("_replaced", default=())


@contextmanager
def replacing(node: Any) -> Iterator[None]:
    """Call nodes that are added after the one that they replace, while the context lasts."""
    token = _replaced.set((node.name,))
    try:
        yield
    finally:
        _replaced.reset(token)


def add(ctx: Any, operator: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
    """Add a node; return the tensor that it gives, or a list if `outputs` are several."""
    from tf2onnx import utils

    name = utils.make_name("/".join([*_replaced.get(), operator]))
    made = ctx.make_node(operator, list(inputs), attributes, output_count=outputs, domain=domain, name=name).output
    return made[0] if outputs == 1 else list(made)


def constant(ctx: Any, array: NDArray[Any]) -> str:
    """Add a constant."""
    from tf2onnx import utils

    return str(ctx.make_const(utils.make_name("constant"), array).output[0])


def cast(ctx: Any, tensor: str, to: str) -> str:
    """Convert a tensor to a type of `onnx.TensorProto`, such as "INT64"."""
    import onnx

    return str(add(ctx, "Cast", tensor, to=getattr(onnx.TensorProto, to)))


def has_type(ctx: Any, tensor: str, *types: str) -> bool:
    """Return whether a tensor is of one of these types of `onnx.TensorProto`."""
    import onnx

    return ctx.get_dtype(tensor) in [getattr(onnx.TensorProto, name) for name in types]


def replace(ctx: Any, node: Any, *tensors: str) -> None:
    """Put tensors in the place of what a node gives, and take the node out."""
    given = [(output, ctx.get_shape(output), ctx.get_dtype(output)) for output in node.output]
    ctx.remove_node(node.name)
    for tensor, (output, shape, dtype) in zip(tensors, given, strict=True):
        ctx.make_node("Identity", [tensor], outputs=[output], shapes=[shape], dtypes=[dtype])
