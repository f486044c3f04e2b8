from bench.core.errors import UserError


def test_a_message_stays_one_line_and_moves_no_cursor() -> None:
    error = UserError("id 'é\x1b[2J\n\ud800' names two")
    assert str(error) == r"id 'é\x1b[2J\n\ud800' names two"
