"""Errors that are the input's and not the code's: a stage tells them in one line."""


class InputError(ValueError):
    """The input is not as it must be; the message is one line that names the thing, its value and what is allowed."""
