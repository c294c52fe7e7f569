"""JSON, as commands print it."""

import json
import math
from typing import Any


def json_text(value: Any) -> str:
    """Write plain values as JSON, which has no infinity and no NaN: null stands for them.

    >>> print(json_text({"recall": float("nan"), "labels": ["größer"]}))
    {
      "recall": null,
      "labels": [
        "größer"
      ]
    }
    """
    return json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
