"""What is timed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Ways of doing one thing, by name: the first is headgate's decoder, the others are floors and rivals.
Contenders = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Case:
    """Ways of doing one thing, timed against each other.

    Attributes:
        name: of the case.
        contenders: makes them; rivals may take seconds to import.
        goal: what headgate's is to reach.
        note: what has to be known to read the numbers; empty for none.
    """

    name: str
    contenders: Callable[[], Contenders]
    goal: str
    note: str = ""
