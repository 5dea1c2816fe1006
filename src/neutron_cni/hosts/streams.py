"""Standard input, and the answer's way out: whatever has become of the caller, no trace is shown.

Imports nothing that takes long: `launcher` uses it before anything else is imported.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

INPUT_LIMIT = 16 << 20
"""Bytes of configuration; one with the prevResult of a long chain has a few thousand."""


def standard_input() -> bytes | None:
    """All of standard input, but at most one byte more than INPUT_LIMIT; None if unreadable."""
    try:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read(INPUT_LIMIT + 1)
    except OSError:
        return None


def write(descriptor: int, data: bytes) -> str:
    """Write all of `data`; what went wrong in words, empty when nothing did."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        return f"the answer could not be written: {error.strerror}"
    return ""


def end(status: int, stdout: bytes, stderr: bytes, answer_to: int = 1) -> "NoReturn":
    """Write the answer to the descriptor `answer_to`, the notes to standard error, and exit.

    A caller that can't be answered gets status 1: what it does not know of, it will ask for again
    or delete. Not sys.exit: the answer is out, and nobody should wait for the interpreter to tidy
    up.
    """
    problem = write(answer_to, stdout)
    if problem:
        status, stderr = status or 1, stderr + problem.encode() + b"\n"
    write(2, stderr)  # Notes are no part of the answer, and nobody may be listening.
    os._exit(status)
