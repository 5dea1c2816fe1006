"""A request that is in Neutron when its sender is killed. No clock says when: states do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Lock

from tests.fakes import api

PATIENCE = 120.0
"""Seconds after which a test that never says what becomes of the request is given up."""

_numbers = count()


class UnderWay:
    """The first request after `skip` others whose method and path match `moment`.

    When it comes, `then` is called, and `flag` appears: the zygote kills the process whose job has
    it as `kill_when`. The request itself waits in the fake until `arrive` or `lose`.
    """

    def __init__(
        self, moment: str, folder: Path, then: Callable[[], object] = lambda: None, skip: int = 0
    ) -> None:
        self.flag = folder / f"under-way-{next(_numbers)}"
        self.came = False
        self._moment = moment
        self._then = then
        self._skip = skip
        self._lost = False
        self._lock = Lock()
        self._decided = Event()
        self._over = Event()

    def is_it(self, request: api.Request) -> bool:
        """Whether this is the one; true once."""
        with self._lock:
            if self.came or not re.search(self._moment, f"{request.method} {request.path}"):
                return False
            if self._skip:
                self._skip -= 1
                return False
            self.came = True
            return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """In the fake's thread: around carrying it out. Raises where it shall not be."""
        try:
            self._then()
            self.flag.touch()
            self._decided.wait(PATIENCE)
            if self._lost:
                raise ConnectionAbortedError("the request never reached Neutron")
            yield
        finally:
            self._over.set()

    def arrive(self) -> None:
        """It is carried out now, if it came and nothing was said of it before; returns then."""
        self._decided.set()
        if self.came:
            assert self._over.wait(PATIENCE)

    def lose(self) -> None:
        """It is never carried out."""
        self._lost = True
        self.arrive()
