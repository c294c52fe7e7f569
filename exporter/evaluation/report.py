"""Evaluations as one page of HTML that needs nothing else."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from headgate.exporter.evaluation.plots import draw
from headgate.exporter.evaluation.results import Chart, HeadEvaluation, Matrix, Table, number_in_words

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; }
h1, h2 { border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .8em; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { display: inline-block; margin: .5em; }
img { max-width: 100%; }
.warning { background: #fff3cd; padding: .5em 1em; }
"""
#: Whatever a model is called: nothing runs, and nothing is loaded from elsewhere.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
#: Invalid rows that are named one by one.
_NAMED_ROWS = 20


def report_of(title: str, facts: Mapping[str, Sequence[str]], evaluations: Sequence[HeadEvaluation]) -> str:
    """Write a page; all text in it may hold anything, and is shown as it is.

    Args:
        title: of the page.
        facts: about the model and the data, lines by title.
        evaluations: what was found.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            _facts(facts),
            *(part for evaluation in evaluations for part in _head(evaluation)),
            "</body></html>\n",
        ]
    )


def warnings_of(evaluation: HeadEvaluation) -> list[str]:
    """Name the rows for which the model gave NaN, and say where the head was fitted to the rows that it is judged on.

    >>> from headgate.exporter.evaluation.results import Scores
    >>> for warning in warnings_of(HeadEvaluation("price", "regression", 9, [2, 5], Scores({}), True)):
    ...     print(warning)
    2 of 9 rows are invalid: 2, 5
    these rows calibrated the head, or chose its threshold: it looks better on them than it is
    """
    rows, warnings = evaluation.invalid_rows, []
    if rows:
        named = ", ".join(map(str, rows[:_NAMED_ROWS])) + (", ..." if len(rows) > _NAMED_ROWS else "")
        warnings.append(f"{len(rows)} of {evaluation.rows} rows are invalid: {named}")
    if evaluation.is_calibration_data:
        warnings.append("these rows calibrated the head, or chose its threshold: it looks better on them than it is")
    return warnings


def _head(evaluation: HeadEvaluation) -> Iterator[str]:
    yield f"<h2>{escape(evaluation.head)}</h2>"
    yield f"<p>{escape(evaluation.kind)}, {evaluation.rows} rows</p>"
    for warning in warnings_of(evaluation):
        yield f'<p class="warning">{escape(warning)}</p>'
    scores = evaluation.scores
    yield _table(Table("metrics", ("metric", "value"), list(scores.metrics.items())))
    yield from (_picture(figure) for figure in scores.figures)
    for table in scores.tables:
        if table.lines:
            yield f"<h3>{escape(table.title.capitalize())}</h3>"
            yield _table(table)


def _facts(facts: Mapping[str, Sequence[str]]) -> str:
    lines = (
        f"<tr><th>{escape(title)}</th><td>{'<br>'.join(map(escape, texts)) or 'none'}</td></tr>"
        for title, texts in facts.items()
    )
    return f"<table>{''.join(lines)}</table>"


def _table(table: Table) -> str:
    header = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    lines = ("".join(map(_cell, line)) for line in table.lines)
    return f"<table><tr>{header}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(value: Any) -> str:
    attributes = "" if isinstance(value, str) else ' class="number"'
    return f"<td{attributes}>{escape(number_in_words(value))}</td>"


def _picture(figure: Chart | Matrix) -> str:
    # As an image, not as a part of the page: the names in one SVG would meet those in another.
    content = base64.b64encode(draw(figure)).decode()
    return f'<figure><img alt="{escape(figure.title)}" src="data:image/svg+xml;base64,{content}"></figure>'
