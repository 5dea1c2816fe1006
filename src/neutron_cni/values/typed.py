"""Decoded JSON, converted to msgspec types: the only place that calls `msgspec.convert`.

msgspec 0.22 publishes a Struct's type information on the class before that of its fields is
complete (`StructInfo_Convert` in its _core.c). Completing it runs Python code, so another thread
may run in between; if that thread converts to the same class, the process dies of SIGSEGV. So one
thread at a time converts. The lock is `_thread`'s, as importing `threading` takes 2 ms.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import TypeVar

import msgspec

T = TypeVar("T")

_ONE_AT_A_TIME = allocate_lock()


def convert(value: object, wanted: type[T]) -> T:
    """`value`, as `msgspec.json.decode` gives it, as a `wanted`; raises msgspec.ValidationError."""
    with _ONE_AT_A_TIME:
        return msgspec.convert(value, wanted)
