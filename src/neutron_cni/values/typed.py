"""Plain values made into msgspec types: the only place that asks msgspec for it.

msgspec 0.22 publishes a Struct's type information on the class before that of its fields is
complete (`StructInfo_Convert` in its _core.c). Completing it runs Python code, so another thread
may come in between; if that one converts to the same class, the process dies of SIGSEGV. So one
thread at a time converts. `_thread` has the lock without the 2 ms that importing `threading` takes.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import TypeVar

import msgspec

T = TypeVar("T")

_ONE_AT_A_TIME = allocate_lock()


def convert(value: object, wanted: type[T]) -> T:
    """`value` (as `msgspec.json.decode` gives it) as `wanted`; raises msgspec.ValidationError."""
    with _ONE_AT_A_TIME:
        return msgspec.convert(value, wanted)
