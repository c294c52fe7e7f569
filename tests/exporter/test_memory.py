"""Tests of freeing memory."""

import weakref

from headgate.exporter.memory import release_memory


class Node:
    """Holds itself."""

    def __init__(self):
        self.itself = self


def test_what_holds_itself_is_freed():
    node = Node()
    reference = weakref.ref(node)
    del node
    release_memory()
    assert reference() is None
