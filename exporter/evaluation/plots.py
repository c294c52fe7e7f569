"""Pictures of evaluations, as SVG."""

import io
import re
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.exporter.errors import MissingDependencyError
from headgate.exporter.evaluation.results import Chart, Matrix

#: Labels are text, whatever dollars they have, and come out as text; files of the same data are the same.
_STYLE = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "headgate", "font.size": 9.0}
_LONGEST = 40
#: What XML cannot hold (https://www.w3.org/TR/xml/#charsets).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: More points of a curve, or of a cloud, nobody sees.
_MOST_POINTS = 1000


def require_matplotlib() -> None:
    """Raise MissingDependencyError unless there is matplotlib to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "pictures need matplotlib, which is not installed: pip install 'headgate[evaluate]'"
        ) from error


def draw(figure: Chart | Matrix) -> bytes:
    """Return a picture as an SVG file."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Letters that matplotlib's font does not have are drawn by the browser.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        side = max(4.5, 0.32 * len(figure.rows)) if isinstance(figure, Matrix) else 4.5
        picture = Figure(figsize=(side + 1.0, side), layout="constrained")
        canvas = FigureCanvasSVG(picture)
        axes = picture.add_subplot()
        axes.set_title(_short(figure.title, 70))
        axes.set_xlabel(_short(figure.x))
        axes.set_ylabel(_short(figure.y))
        if isinstance(figure, Matrix):
            _fill_matrix(axes, figure)
        else:
            _fill_chart(axes, figure)
        file = io.BytesIO()
        canvas.print_svg(file, metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _fill_chart(axes: Any, chart: Chart) -> None:
    if chart.diagonal:
        axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", linewidth=1)
    if chart.zero:
        axes.axhline(0, color="0.7", linestyle="--", linewidth=1)
    for series in chart.series:
        label = _short(series.label)
        x, y = _thinned(series.x), _thinned(series.y)
        match series.style:
            case "line":
                axes.plot(x, y, marker="o", markersize=4, label=label)
            case "curve":
                axes.plot(x, y, label=label)
            case "bars":
                axes.bar(x, y, width=0.02, color="0.85", label=label)
            case "points":
                axes.plot(x, y, linestyle="", marker=".", markersize=3, alpha=0.5, label=label)
            case "chosen":
                color = axes.lines[-1].get_color()
                axes.plot(x, y, linestyle="", marker="D", color=color, markeredgecolor="black", label=label)
    if len(chart.series) > 1 or chart.series[0].style != "points":
        axes.legend(fontsize="small")


def _fill_matrix(axes: Any, matrix: Matrix) -> None:
    totals = np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
    parts = matrix.counts / totals
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(matrix.columns)), [_short(name, 20) for name in matrix.columns], rotation=45, ha="right")
    axes.set_yticks(range(len(matrix.rows)), [_short(name, 20) for name in matrix.rows])
    for (row, column), count in np.ndenumerate(matrix.counts):
        if count:
            color = "white" if parts[row, column] > 0.6 else "black"
            size = 8 if len(matrix.rows) <= 12 else 5
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=size)


def _thinned(values: ArrayLike) -> NDArray[Any]:
    """Return as many values as can be told apart, the first and the last too."""
    array: NDArray[Any] = np.asarray(values)
    return array.take(np.linspace(0, len(array) - 1, min(len(array), _MOST_POINTS)).astype(int))


def _short(text: str, longest: int = _LONGEST) -> str:
    """Return text of some letters at most, as XML can hold it; matplotlib keeps "_" out of legends."""
    text = _NO_XML.sub("\ufffd", text if len(text) <= longest else f"{text[: longest - 3]}...")
    return f" {text}" if text.startswith("_") else text
