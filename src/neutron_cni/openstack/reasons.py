"""Why there is no answer, in our own words: those of libraries quote URLs and headers."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from http.client import HTTPException, IncompleteRead, RemoteDisconnected

import requests
import urllib3

from neutron_cni.openstack.names import SlowName


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what lies beneath it, outermost first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def reason(error: BaseException) -> str:
    """Why there is no answer: our words, or the system's for an error number."""
    chain = list(causes(error))
    by_proxy = any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in chain)
    words = next((said for cause in reversed(chain) if (said := _said(cause))), "")
    words = words or f"the request can't be made ({type(chain[-1]).__name__})"
    return f"the proxy can't be used ({words})" if by_proxy else words


def _said(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'no reason given'})"
    if isinstance(error, SlowName):
        return "its name could not be looked up in time"
    if isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)):
        # NewConnectionError is one, too, for what comes of a connection that is refused.
        return "" if isinstance(error, urllib3.exceptions.NewConnectionError) else "timed out"
    if isinstance(error, RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, (IncompleteRead, urllib3.exceptions.IncompleteRead)):
        return "the answer ended in its middle"
    if isinstance(error, urllib3.exceptions.DecodeError):
        return "the answer is not compressed as it says"
    if isinstance(error, UnicodeError):
        return "a value of clouds.yaml has letters that no header can have"
    if isinstance(error, HTTPException):
        return "the answer is not HTTP"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return "a scheme of the URL, or the kind of its proxy, is not known here"
    tunnel = re.search(r"Tunnel connection failed: (\d+)", str(error))
    if tunnel:
        return f"it answered {tunnel[1]}"
    if type(error) is OSError and error.errno is None and not error.__cause__:
        return "a file named by `cacert`, `cert` or `key` can't be used"
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or ""
    return ""
