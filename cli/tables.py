"""Tables of numbers, for terminals."""

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from headgate.exporter.evaluation.results import Table, number_in_words


def print_table(table: Table) -> None:
    """Print a table, numbers to the right; nothing where it has no lines."""
    if not table.lines:
        return
    printed = RichTable(title=Text(table.title), title_justify="left")
    for name, value in zip(table.header, table.lines[0], strict=True):
        # Of words apart, which narrow terminals break.
        printed.add_column(Text(name.replace("_", " ")), justify="left" if isinstance(value, str) else "right")
    for line in table.lines:
        printed.add_row(*(Text(number_in_words(value)) for value in line))
    Console().print(printed)
