"""The lab's only exception."""


class LabError(Exception):
    """Something the lab could not do: what it was doing, why, and what the user can do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n  {hint}" if hint else message)
        self.message = message
        self.hint = hint
