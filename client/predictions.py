"""The answer to a predict request."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headgate.client.errors import HeadgateError
from headgate.client.frames import frame_of
from headgate.client.rows import describe_row, plain_rows
from headgate.v1 import PredictResponse
from headgate.v1.columns import Columns, columns_from_prediction

if TYPE_CHECKING:
    import pandas

_ROWS_IN_REPR = 3


@dataclass(frozen=True, eq=False, repr=False)
class Predictions(Mapping[str, Columns]):
    """What the heads of a model predict for the rows of a request: a mapping from head name to columns.

    Attributes:
        model: the model's name.
        version: the version that ran.
        id: the request's id, as it was given.
        rows: how many rows were predicted.
        columns: the columns of each head (dataclasses of `headgate.v1.columns`), in the order of the model's heads.
    """

    model: str
    version: int
    id: str
    rows: int
    columns: Mapping[str, Columns]

    @classmethod
    def from_response(cls, response: PredictResponse) -> "Predictions":
        """Read a response.

        Raises:
            HeadgateError: a head is of a kind that this release does not know.
        """
        rows = response.rows
        try:
            columns = {answer.head: columns_from_prediction(answer, rows) for answer in response.predictions}
        except ValueError as error:
            raise HeadgateError(str(error)) from error
        return cls(response.model, response.version, response.id, rows, columns)

    def __getitem__(self, head: str) -> Columns:
        return self.columns[head]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def head(self) -> Columns:
        """The columns of the only head.

        Raises:
            ValueError: the answer holds several heads.
        """
        if len(self.columns) != 1:
            names = ", ".join(f"'{name}'" for name in self.columns)
            raise ValueError(f"the answer holds {len(self.columns)} heads: {names}; choose one with predictions[name]")
        return next(iter(self.columns.values()))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return one dict a row, from head name to plain Python values that `json.dumps` takes.

        What stands for a head:

        - regression: `values`, a list of `value` with the `target` and `unit` that the head gives it; with an interval
          `lower` and `upper`, and beside `values` the `confidence_level`
        - count: the same with `mean`; mean_variance: with `mean` and `standard_deviation`
        - quantile: the same with `median` (None where the head's levels do not reach it) and `quantiles`, a list of
          `level` and `value`
        - anomaly: `score`, `anomalous` (None for a head without a threshold), `threshold`, `percentile` where the head
          has them
        - binary: `label`, `probability`, `positive`, `positive_label`, `threshold`; of a head that may abstain
          `abstained` (the `label` is empty then)
        - multiclass: `label`, `index` and `score` of the best label; where k > 1 `top`, a list of the best k;
          `probabilities`, `entropy`, `margin`, and `groups`, a list of `label` and `score`, where they were asked for;
          of a head that may abstain `abstained`; with prediction sets `set`, a list of `label` and `index`, and the
          `confidence_level`
        - ordinal: `label`, `rank` (the position in the head's labels), `score` and `expected_rank`; `probabilities`
          where they were asked for
        - multilabel: `labels`, a list of `label`, `index` and `score`; `probabilities` where they were asked for
        - embedding: `vector`, and of a head with prototypes `nearest`, a list of `label`, `index` and `similarity`
        - sequence_tags: `steps`, a list of `step`, `label`, `index` and `score`, and of a head with a scheme `spans`, a
          list of `start`, `end` (the step after the last), `label` and `score`
        - ctc: `text`, `log_probability` and `tokens` (the positions of its symbols in the head's labels) of the best
          text; where k > 1 `top`, a list of the best k, or of fewer where no more are possible
        - segmentation: `height`, `width`, `areas`, from label to the part of the pixels that has it; as asked for
          `class_map`, a list of rows of positions in the head's labels, or `runs`, from label to run lengths
        - keypoints: `points`, a list of `name`, `x`, `y`, and `score` where there is one; `relative`, whether they are
          fractions of the image's sides rather than pixels
        - detection: `detections`, a list of `label`, `index`, `score` and `box` (left, top, right, bottom), the best
          first; `relative`, as of keypoints
        - None where the model gave NaN
        """
        heads = {name: plain_rows(columns) for name, columns in self.columns.items()}
        return [{name: rows[row] for name, rows in heads.items()} for row in range(self.rows)]

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a DataFrame of one row an example, its columns named `<head>.<name>`. pandas has to be installed.

        Where a head says one thing a row, that is a column of numbers, bools or texts; where it says several, each cell
        holds a numpy array. `valid` is False where the model gave NaN: look there first. The names of the others:

        - regression: `value`, and with an interval `lower` and `upper`; count: `mean` in its place; mean_variance:
          `mean` and `standard_deviation`; quantile: `median`, `quantile_0.1` and so on. Where targets have names or are
          several, that name or number comes first: `rent.value`
        - anomaly: `score`, `anomalous`, `percentile`
        - binary: `label`, `probability`, `positive`, `abstained`
        - multiclass: `label`, `index`, `score`, `abstained`, `entropy`, `margin`, `group.<name>`; several:
          `probabilities`, `top_labels`, `top_indices` and `top_scores` (where k > 1), `set_labels` and `set_indices`
        - ordinal: `label`, `rank`, `score`, `expected_rank`; several: `probabilities`
        - multilabel: several `labels`, `indices`, `scores`, `probabilities`
        - embedding: several: `vector`, and of the nearest `labels`, `indices`, `similarities`
        - sequence_tags: several: `labels`, `indices`, `scores`, `steps`, `span_labels`, `span_scores`, `span_starts`,
          `span_ends`
        - ctc: `text`, `log_probability`; several: `tokens`, and where k > 1 `top_texts` and `top_log_probabilities`
        - segmentation: `area.<label>`; several: `class_map`, `runs.<label>`
        - keypoints: `<name>.x`, `<name>.y`, `<name>.score`
        - detection: several: `labels`, `indices`, `scores`, `boxes`

        What is the same for all rows (units, thresholds, the level of intervals) stands in the heads' columns alone.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install 'headgate[pandas]'") from error
        heads = {head: frame_of(columns) for head, columns in self.columns.items()}
        named = {f"{head}.{name}": values for head, frame in heads.items() for name, values in frame.items()}
        return pandas.DataFrame(named, index=pandas.RangeIndex(self.rows))

    def __repr__(self) -> str:
        lines = [f"Predictions of '{self.model}' version {self.version}, {self.rows} row{'s' * (self.rows != 1)}"]
        for name, columns in self.columns.items():
            shown = [describe_row(row) for row in plain_rows(columns.rows(0, _ROWS_IN_REPR))]
            lines.append(f"{name}: {'; '.join(shown + ['...'] * (self.rows > _ROWS_IN_REPR))}")
        return "<" + "\n  ".join(lines) + ">"
