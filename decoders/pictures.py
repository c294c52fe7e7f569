"""Outputs that hold a picture for each row."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.decoders.heads import HeadError
from headgate.v1 import Head, PixelLayout, TensorSpec
from headgate.v1.tensors import format_spec


def picture_shape(head: Head, outputs: Mapping[str, TensorSpec]) -> tuple[tuple[int, ...], int]:
    """Return the shape of a head's output, [rows, height, width, channels] or as its layout says, and the last's axis.

    Raises:
        HeadError: the layout is not known, the output has another shape, or no fixed number of channels.
    """
    kind = head.WhichOneof("kind") or ""
    layout = getattr(head, kind).layout
    if layout not in PixelLayout.values():
        raise HeadError(head.name, f"{kind}.layout", f"is {layout}; give one of {', '.join(PixelLayout.keys())}")
    axis, sizes = (1, "channels,height,width") if layout else (3, "height,width,channels")
    spec = outputs[head.output]
    if len(spec.shape) != 4:
        problem = f"'{head.output}' is {format_spec(spec)}; a {kind} head of this layout reads [batch,{sizes}]"
        raise HeadError(head.name, "output", problem)
    if spec.shape[axis] < 1:
        problem = f"'{head.output}' is {format_spec(spec)}; of [batch,{sizes}] the channels must be fixed"
        raise HeadError(head.name, "output", problem)
    return (-1, *spec.shape[1:]), axis


def image_size_of(head: Head) -> tuple[int, int] | None:
    """Return the (width, height) in pixels of the image that a head looks at, None where it does not say.

    Raises:
        HeadError: it says one of them alone.
    """
    kind = head.WhichOneof("kind") or ""
    width, height = getattr(head, kind).image_width, getattr(head, kind).image_height
    if bool(width) != bool(height):
        missing, given = ("image_height", "width") if width else ("image_width", "height")
        raise HeadError(head.name, f"{kind}.{missing}", f"is 0, the {given} is known; give both or none")
    return (width, height) if width else None
