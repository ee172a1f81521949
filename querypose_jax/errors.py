"""The one kind of error a user is meant to read, and how others' text gets into it."""


class UserError(ValueError):
    """Bad input: the message is one line that says what is wrong, where, and what to do."""


def one_line(text: object, longest: int = 80) -> str:
    """Text that a file or a server gave, fit for a message: one line of so many characters at most, in which `?` stands
    for what a terminal could take for a command."""
    words = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else "?" for c in words[: longest + 1])
    return shown if len(words) <= longest else shown[: longest - 3] + "..."
