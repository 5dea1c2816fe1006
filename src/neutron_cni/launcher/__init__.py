"""What a container runtime executes as /opt/cni/bin/<plugin>.

Every import here is paid by every pod: VERSION and the error for a forgotten command need none
beyond the interpreter's own. The rest is in `call`.
"""

import os
import sys

from neutron_cni import __version__
from neutron_cni.cni.versions import SUPPORTED, version_answer

__all__ = ["main"]


def main() -> None:
    """Answer one CNI call (CNI SPEC, section 2) and exit: 0 on success, otherwise 1 or more."""
    _fill_standard_descriptors()
    plugin = os.path.basename(sys.argv[0])  # noqa: PTH119 - pathlib takes 9 ms to import
    command = os.environ.get("CNI_COMMAND", "")
    terminal = os.isatty(0)
    if command == "VERSION":
        stdin = sys.stdin.buffer.read() if sys.stdin and not terminal else b""
        os.write(1, version_answer(stdin).encode() + b"\n")
    elif not command and terminal:
        sys.stderr.write(
            f"{plugin} {__version__}: a CNI plugin, run by a container runtime; "
            "see `neutron-cni --help`\n"
            f"CNI protocol versions supported: {', '.join(SUPPORTED)}\n"
        )
    else:
        _answer(plugin, command)


def _fill_standard_descriptors() -> None:
    """Whatever the caller closed leads nowhere; else the next file or socket would take its number.

    Only for writing: reading standard input then fails as it would if it were closed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, as all below it are taken by now.
            os.open(os.devnull, os.O_WRONLY)


def _answer(plugin: str, command: str) -> None:
    from neutron_cni.hosts import client

    stdin, listener = client.standard_input(), None
    if command == "ADD" and stdin is not None:
        found = client.hand_over(plugin, stdin)
        if isinstance(found, tuple):
            status, stdout, stderr = found
            os.write(1, stdout)
            if stderr:
                _write_notes(stderr)
            os._exit(status)
        listener = found
    from neutron_cni.hosts.call import serve

    serve(plugin, stdin, listener)


def _write_notes(stderr: bytes) -> None:
    """Notes are no part of the answer, and nobody may be listening."""
    try:
        os.write(2, stderr)
    except OSError:
        return
