"""What a container runtime executes as /opt/cni/bin/<plugin>.

Every pod pays for every import here. VERSION, and the notice for a user who starts a plugin in a
terminal, need no more than these; all other calls go on to `hosts.client` and `hosts.call`.
"""

import os
import sys
import time

from neutron_cni import __version__
from neutron_cni.cni.versions import SUPPORTED, quoted_value, version_answer
from neutron_cni.hosts import streams

__all__ = ["main"]


def main() -> None:
    """Answer one CNI call (CNI SPEC, section 2) and exit: 0 on success, otherwise 1 or more."""
    _fill_standard_descriptors()
    plugin = os.path.basename(sys.argv[0])  # noqa: PTH119 - pathlib takes 9 ms to import
    command = os.environ.get("CNI_COMMAND", "")
    terminal = os.isatty(0)
    if command == "VERSION":
        stdin = b"" if terminal else (streams.standard_input() or b"")
        streams.end(0, version_answer(stdin).encode() + b"\n", b"")
    elif not command and terminal:
        sys.stderr.write(
            f"{plugin} {__version__}: a CNI plugin, run by a container runtime; "
            "see `neutron-cni --help`\n"
            f"CNI protocol versions supported: {', '.join(SUPPORTED)}\n"
        )
    else:
        _answer(plugin)


def _fill_standard_descriptors() -> None:
    """Open /dev/null as each of the descriptors 0, 1 and 2 that the caller closed.

    Otherwise the next file or socket would get that number. /dev/null is opened for writing
    only: reading standard input then fails, as it would if it were closed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # open(2) takes the lowest free number: this one, as all below it are open by now.
            os.open(os.devnull, os.O_WRONLY)


def _answer(plugin: str) -> None:
    from neutron_cni.hosts import client

    stdin, post = streams.standard_input(), None
    began = time.monotonic()
    try:
        if stdin is not None:
            found = client.hand_over(plugin, stdin)
            if isinstance(found, tuple):
                streams.end(*found)
            post = found
        from neutron_cni.hosts.call import serve

        serve(plugin, stdin, post, time.monotonic() - began)
    except Exception as error:
        # Not even the code that answers could be had: no descriptors or no memory left, or the
        # environment that we were installed into is gone.
        streams.end(1, _last_words(error, stdin or b""), b"")


def _last_words(error: Exception, stdin: bytes) -> bytes:
    """An error of the CNI specification, made without a library."""
    asked = quoted_value(stdin, b'"cniVersion"')
    version = asked if asked in SUPPORTED else SUPPORTED[-1]
    said = f"{type(error).__name__}: {error}".encode("ascii", "replace").decode()
    harmless = "".join(c for c in said if c.isprintable() and c not in '"\\')[:300]
    text = f'"code":5,"msg":"the plugin could not be started: {harmless}"'
    hint = '"details":"is neutron-cni still installed there, and are files and memory left to it?"'
    return f'{{"cniVersion":"{version}",{text},{hint}}}\n'.encode()
