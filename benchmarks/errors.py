class BenchmarkError(Exception):
    """Something that makes the figures impossible or worthless; the message is one line for people."""
