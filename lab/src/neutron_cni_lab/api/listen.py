"""``listen.py ADDRESS PORT INHERITED_FD COMMAND...``: opens a second socket, becomes COMMAND.

Runs in the namespace of the external network, with an open socket of the host's namespace: a
socket belongs to the namespace it was made in, so one gunicorn serves both sides and nothing is
forwarded. COMMAND gets ``--bind fd://N`` for each.
"""

import os
import socket
import sys


def main() -> None:
    """Bind, then exec; the process keeps its id."""
    address, port, inherited, *command = sys.argv[1:]
    own = socket.create_server((address, int(port)), backlog=256)
    own.set_inheritable(True)
    binds = ["--bind", f"fd://{inherited}", "--bind", f"fd://{own.fileno()}"]
    os.execv(command[0], [*command, *binds])


main()
