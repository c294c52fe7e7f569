"""Formulas over float32 tensors, written as in Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from headgate.exporter.conversion.handlers.nodes import add, constant


class Real:
    """A float32 tensor of tf2onnx's graph; each operation adds a node."""

    def __init__(self, ctx: Any, tensor: str) -> None:
        self._ctx = ctx
        self.tensor = tensor

    def apply(self, operator: str, *others: Real | float) -> Real:
        """Apply an ONNX operator to this tensor and others."""
        inputs = [self.tensor, *(self._operand(other) for other in others)]
        return Real(self._ctx, add(self._ctx, operator, *inputs))

    def _operand(self, other: Real | float) -> str:
        return other.tensor if isinstance(other, Real) else constant(self._ctx, np.array(other, np.float32))

    def unsqueeze(self, axis: int) -> Real:
        """Insert an axis of size one."""
        return Real(self._ctx, add(self._ctx, "Unsqueeze", self.tensor, constant(self._ctx, np.array([axis]))))

    def sum(self, axis: int) -> Real:
        """Add up along an axis, which remains with size one."""
        axes = constant(self._ctx, np.array([axis]))
        return Real(self._ctx, add(self._ctx, "ReduceSum", self.tensor, axes, keepdims=1))

    def where(self, condition: str, other: Real | float) -> Real:
        """Keep this where a boolean tensor is true, put `other` in all other places."""
        return Real(self._ctx, add(self._ctx, "Where", condition, self.tensor, self._operand(other)))

    def less(self, bound: Real | float) -> str:
        """Return the boolean tensor that tells what is less than a bound."""
        return self.apply("Less", bound).tensor

    def __add__(self, other: Real | float) -> Real:
        return self.apply("Add", other)

    def __sub__(self, other: Real | float) -> Real:
        return self.apply("Sub", other)

    def __mul__(self, other: Real | float) -> Real:
        return self.apply("Mul", other)

    def __truediv__(self, other: Real | float) -> Real:
        return self.apply("Div", other)
