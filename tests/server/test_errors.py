"""Messages of errors: one line that does no harm to a terminal, whatever a client sent."""

from headgate.server.errors import NotFoundError


def test_message_is_one_line():
    assert str(NotFoundError("there is no model 'a\nb\x1b[31m\u202e'")) == r"there is no model 'a\nb\x1b[31m\u202e'"


def test_very_long_message_is_cut_before_it_is_escaped():
    assert str(NotFoundError("\n" * 1_000_000)) == r"\n" * 10_000
