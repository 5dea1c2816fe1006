"""Profiles of vendors that openstacksdk fetches by URL: over our transport, and looked at.

It fetches them by a `requests.get` of its own, with ten seconds for each piece of an answer of any
size, wherever it is redirected to. There is no option for that, so its module gets another one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import requests
from openstack.config import vendors

from neutron_cni.openstack.answers import decoded, in_words
from neutron_cni.openstack.transport import Transport, Trouble
from neutron_cni.values.deadline import Deadline

SECONDS = 10.0
"""What openstacksdk gives it."""

_end: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def fetched_by(deadline: Deadline | None) -> Iterator[None]:
    """Profiles that this thread needs meanwhile have to be there by the deadline."""
    before = _end.set(deadline.at if deadline is not None else None)
    try:
        yield
    finally:
        _end.reset(before)


class _Fetch:
    """What `openstack.config.vendors` uses of requests."""

    @staticmethod
    def get(url: str, **more: object) -> requests.Response:
        """A profile, of the form that its reader takes for granted. Raises Trouble."""
        latest = time.monotonic() + SECONDS
        with Transport() as transport:
            transport.end = min(latest, _end.get() or latest)
            try:
                response = transport.get(url)
            except requests.RequestException as error:
                raise Trouble("", f"no usable URL ({type(error).__name__})", sent=False) from error
        if response.status_code != 200:
            said = in_words(response.content, quoting=True)
            raise Trouble(url, f"answered {response.status_code}: {said}", sent=True)
        body = decoded(response.content)[1]
        if not (
            isinstance(body, dict)
            and isinstance(body.get("name"), str)
            and isinstance(body.get("profile"), dict)
        ):
            said = in_words(response.content, quoting=False)
            raise Trouble(url, f"{said} is no profile of a cloud", sent=True)
        return response


vendors.requests = _Fetch
