"""The one kind of error a user is meant to read."""


class UserError(ValueError):
    """Bad input: the message is one line that says what is wrong, where, and what to do."""
