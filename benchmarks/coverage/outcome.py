"""What becomes of a case, and whether that was expected."""

from dataclasses import dataclass

#: A file that was written, and is of no use: what must never happen.
SILENT = ("wrong", "unloadable")


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        status: `equal`, `refused` (by headgate, with one line), `failed` (any other error), `unloadable` (a
            file that onnxruntime does not load or run), `wrong` (a file that computes something else), `badly named`,
            `broken` (the case, not the exporter), `crashed`, `timed out`, or `skipped` (a library is missing).
        reason: one line; where all is well, empty or the tolerance that was applied if the usual was not enough.
        seconds: that the export took.
        nodes: of the ONNX graph.
        error: the largest |onnx - keras|, as a part of the largest |keras| of that output.
    """

    status: str
    reason: str = ""
    seconds: float = 0.0
    nodes: int = 0
    error: float = 0.0


@dataclass(frozen=True)
class Result:
    """A case's outcome.

    Attributes:
        set: the set that the case belongs to.
        name: the case's.
        refused: why headgate is expected to refuse it; empty for all that has to work.
        outcome: what happened.
    """

    set: str
    name: str
    refused: str
    outcome: Outcome

    @property
    def is_expected(self) -> bool:
        """Whether that happened which the case's module says.

        >>> Result("layers", "Dense/plain", "", Outcome("wrong")).is_expected
        False
        """
        return self.outcome.status in ("skipped", "refused" if self.refused else "equal")
