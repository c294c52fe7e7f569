"""Sets that keep the order of insertion, for tf2onnx: the order of Python's own differs from process to process.

tf2onnx looks through sets of names and of nodes while it rearranges a graph. With Python's sets, whose order follows
random hashes and addresses, the same model becomes other graphs in other processes, some of them unsound.
"""

import sys
from collections.abc import Iterable, Iterator, MutableSet
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class OrderedSet(MutableSet[T]):
    """A set in order of insertion, with the methods of Python's that tf2onnx calls.

    >>> list(OrderedSet("hello") - {"e"})
    ['h', 'l', 'o']
    """

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T) -> None:
        """Put an item last, unless it is there."""
        self._items[item] = None

    def discard(self, item: T) -> None:
        """Take an item out, if it is there."""
        self._items.pop(item, None)

    def union(self, *others: Iterable[T]) -> "OrderedSet[T]":
        """Return what is in any."""
        return OrderedSet([item for items in (self, *others) for item in items])

    def intersection(self, other: Iterable[T]) -> "OrderedSet[T]":
        """Return what is in both."""
        return OrderedSet([item for item in other if item in self])

    def difference(self, other: Iterable[T]) -> "OrderedSet[T]":
        """Return what is in this alone."""
        excluded = list(other)
        return OrderedSet([item for item in self if item not in excluded])

    def issubset(self, other: Iterable[T]) -> bool:
        """Return whether the other holds all items of this."""
        return self <= OrderedSet(other)

    def update(self, other: Iterable[T]) -> None:
        """Add all items of the other."""
        self._items.update(dict.fromkeys(other))


@contextmanager
def ordered_sets() -> Iterator[None]:
    """Let `set` mean OrderedSet in all modules of tf2onnx, and names be numbered from one, while the context lasts."""
    import tf2onnx.utils

    modules: list[Any] = [module for name, module in sys.modules.items() if name.partition(".")[0] == "tf2onnx"]
    for module in modules:
        module.set = OrderedSet
    tf2onnx.utils.INTERNAL_NAME = 0
    try:
        yield
    finally:
        for module in modules:
            del module.set
