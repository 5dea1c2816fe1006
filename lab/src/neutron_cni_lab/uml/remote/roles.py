"""Commands in a VM, given by its host: both ends of a TCP connection for each command.

In the VM it is run with ``serve`` and listens; on the host with ``run``: it then has the command's
stdin, stdout and stderr, gets its signals and ends with its status. The system's Python runs this
folder with ``-I -S``, so that it starts quickly: nothing but the standard library is imported.
"""

from __future__ import annotations

import argparse
import os


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("serve")
    server.add_argument("nic")
    server.add_argument("address")
    caller = roles.add_parser("run")
    caller.add_argument("--wait", type=float, default=30)
    for name in ("node", "namespace", "address"):
        caller.add_argument(name)
    caller.add_argument("pid", type=int)
    caller.add_argument("words", nargs="+")
    arguments = parser.parse_args()
    while os.open(os.devnull, os.O_RDWR) <= 2:  # what opens next is no standard stream
        pass
    # Each end loads its own half only.
    if arguments.role == "serve":
        from commands import serve

        serve(arguments.nic, arguments.address)
    else:
        from caller import call, end

        end(call(arguments))
