"""The error function; onnxruntime has none for float64."""

import functools
import math
from typing import Any

import numpy as np

from headgate.exporter.conversion.handlers.nodes import add, constant, has_type, replace

#: Beyond it, erf is 1 in float64.
_MOST = 6.0
#: erfc(z) exp(z^2) is nearly a polynomial of (z - c) / (z + c).
_CENTRE, _DEGREE = 2.0, 20
_LEAST_FRACTION, _MOST_FRACTION = -1.0, (_MOST - _CENTRE) / (_MOST + _CENTRE)


def erf(ctx: Any, tensor: str) -> str:
    """Add the error function of a tensor, in float64 within 1e-14."""
    if not has_type(ctx, tensor, "DOUBLE"):
        return str(add(ctx, "Erf", tensor))

    def combine(operator: str, *operands: str | float) -> str:
        names = [one if isinstance(one, str) else constant(ctx, np.array(one)) for one in operands]
        return str(add(ctx, operator, *names))

    size = combine("Min", combine("Abs", tensor), _MOST)
    fraction = combine("Div", combine("Sub", size, _CENTRE), combine("Add", size, _CENTRE))
    # To [-1, 1], for which the polynomial is.
    scale = 2 / (_MOST_FRACTION - _LEAST_FRACTION)
    place = combine("Sub", combine("Mul", combine("Sub", fraction, _LEAST_FRACTION), scale), 1.0)
    highest, *others = _coefficients()
    total: str | float = highest
    for coefficient in others:
        total = combine("Add", combine("Mul", place, total), coefficient)
    complement = combine("Mul", total, combine("Exp", combine("Neg", combine("Mul", size, size))))
    return combine("Mul", combine("Sign", tensor), combine("Sub", 1.0, complement))


@functools.cache
def _coefficients() -> list[float]:
    """Return those of the polynomial through erfc(z) exp(z^2) at Chebyshev points, from the highest on."""

    def scaled(places: Any) -> Any:
        fractions = _LEAST_FRACTION + (places + 1) * (_MOST_FRACTION - _LEAST_FRACTION) / 2
        sizes = _CENTRE * (1 + fractions) / (1 - fractions)
        return np.array([math.erfc(size) * math.exp(size**2) for size in sizes])

    interpolated = np.polynomial.chebyshev.chebinterpolate(scaled, _DEGREE)
    return [float(one) for one in np.polynomial.chebyshev.cheb2poly(interpolated)[::-1]]


def map_erf(ctx: Any, node: Any, **_: Any) -> None:
    """Map Erf."""
    replace(ctx, node, erf(ctx, node.input[0]))


HANDLERS = {"Erf": map_erf}
