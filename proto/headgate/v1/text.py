"""Text that others wrote, as a line that a terminal or a log can show."""


def printable(text: str) -> str:
    r"""Escape what is no printable character: line ends, control characters, marks that reverse text.

    >>> print(printable("größe\n\x1b[31m"))
    größe\n\x1b[31m
    """
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else each.encode("unicode_escape").decode() for each in text])
