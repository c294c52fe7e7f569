"""Labels of labels: the score of a group is the sum of its members'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.heads import HeadError, check_different
from headgate.v1 import Head
from headgate.v1.columns import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class LabelGroups:
    """The groups of a multiclass head.

    Attributes:
        names: of the groups.
        members: int [members], the classes in each group, one group after another.
        starts: int [groups], where each group begins in `members`.
    """

    names: tuple[str, ...]
    members: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def from_head(cls, head: Head) -> LabelGroups | None:
        """Take the groups of a multiclass head, None where it has none; raises HeadError."""
        kind = head.multiclass
        if not kind.groups:
            return None
        check_different(head, "multiclass.groups", [*kind.labels, *(group.name for group in kind.groups)])
        classes_of: dict[str, list[int]] = {label: [index] for index, label in enumerate(kind.labels)}
        for group in kind.groups:
            if not group.members:
                raise _error(head, group.name, "has no members; give it one or more")
            for member in group.members:
                if member not in classes_of:
                    raise _error(head, group.name, f"has '{member}', neither a label nor a group before it")
            classes = [index for member in group.members for index in classes_of[member]]
            if len(set(classes)) < len(classes):
                twice = next(kind.labels[index] for index in classes if classes.count(index) > 1)
                raise _error(head, group.name, f"counts '{twice}' twice; give each label once")
            classes_of[group.name] = classes
        names = tuple(group.name for group in kind.groups)
        sizes = [len(classes_of[name]) for name in names]
        members = [index for name in names for index in classes_of[name]]
        return cls(names, np.array(members), np.cumsum([0, *sizes[:-1]]))

    def scores(self, probabilities: FloatArray) -> FloatArray:
        """Return the sums of probabilities [rows, classes] over each group: float32 [rows, groups], at most 1."""
        # Not a matrix product, whose rounding depends on how many rows there are.
        sums = np.add.reduceat(probabilities.take(self.members, axis=1), self.starts, axis=1, dtype=np.float64)
        return np.minimum(sums, 1).astype(np.float32)


def _error(head: Head, group: str, problem: str) -> HeadError:
    return HeadError(head.name, "multiclass.groups", f"'{group}' {problem}")
