"""Which addresses a name has, within a time: the system's resolver knows none of our deadlines."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import ip_address


class SlowName(TimeoutError):
    """The system did not say in time which address a name has."""


def addresses_of(name: str, port: int, seconds: float) -> list[str]:
    """The addresses of a host, in the order to try them. Raises OSError (SlowName), UnicodeError.

    The system's resolver has limits of its own, of half a minute where no name server answers, and
    can't be interrupted: so a thread waits for it, which nobody waits for once the time is over.
    """
    with suppress(ValueError):
        return [str(ip_address(name.strip("[]")))]
    found: Future[list[str]] = Future()

    def look_up() -> None:
        try:
            every = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(str(item[4][0]) for item in every)))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    with suppress(TimeoutError):
        return found.result(timeout=max(0.0, seconds))
    raise SlowName
