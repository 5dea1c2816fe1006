"""The message by which a plugin process hands its call over to another one, and the answer.

A message ends where its sender shuts its half of the connection down:

    call    PLUGIN NUL NAME=VALUE NUL ... NUL NUL STDIN
    answer  STATUS BYTES-OF-STDOUT BYTES-OF-BOTH NEWLINE STDOUT STDERR

Nothing slow is imported here: a process that hands its call over has to start fast.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

Call = tuple[str, "Mapping[str, str]", bytes]
"""The plugin's name ("veth-route"), the environment, and standard input."""
Answer = tuple[int, bytes, bytes]
"""Exit status, standard output and standard error."""


def call_to_bytes(call: Call) -> bytes:
    """`call` as bytes to send; what is not UTF-8 passes unchanged (os.fsencode)."""
    plugin, environ, stdin = call
    variables = [os.fsencode(f"{name}={value}") for name, value in environ.items()]
    return b"\0".join([os.fsencode(plugin), *variables, b"", stdin])


def call_from_bytes(received: bytes) -> Call | None:
    """The call that was sent, None if the message is cut short."""
    head, end, stdin = received.partition(b"\0\0")
    if not end:
        return None
    plugin, *pairs = head.split(b"\0")
    environ = dict(os.fsdecode(pair).partition("=")[::2] for pair in pairs)
    return os.fsdecode(plugin), environ, stdin


def answer_to_bytes(answer: Answer) -> bytes:
    """`answer` as bytes to send."""
    status, stdout, stderr = answer
    return f"{status} {len(stdout)} {len(stdout) + len(stderr)}\n".encode() + stdout + stderr


def answer_from_bytes(received: bytes) -> Answer | None:
    """The answer that was sent, None if the message is cut short."""
    head, newline, rest = received.partition(b"\n")
    try:
        status, length, total = map(int, head.split())
    except ValueError:
        return None
    whole = bool(newline) and len(rest) == total
    return (status, rest[:length], rest[length:]) if whole else None
