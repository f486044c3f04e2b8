"""The one exception that is the user's to mend."""


class UserError(Exception):
    """A mistake in what the user asked for or supplied.

    The message is one line that states the rule, the value got and the way out. Commands print it
    on stderr and exit with status 2; every other exception is a bug and keeps its traceback.
    """
