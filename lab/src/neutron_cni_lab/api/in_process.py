"""Neutron's agents with their privileges in the process that they are."""

import os
import signal
import sys

from neutron import privileged
from oslo_privsep.priv_context import PrivContext


def have_privileges() -> None:
    """Have what needs root done here: we are root, and each helper would be as large as its agent.

    For each namespace that it enters pyroute2 forks a child, which it ends by SIGTERM. In an agent
    that is served by cotyledon (L3, DHCP) the child has inherited the descriptor by which signals
    are told: its death would be taken for an order to stop. So what is forked has neither.
    """
    for context in vars(privileged).values():
        if isinstance(context, PrivContext):
            context.set_client_mode(False)
    os.register_at_fork(after_in_child=_forget_signals)


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def name_it(name: str) -> None:
    """What the agent calls itself in logs and in the list of processes."""
    sys.argv[0] = name
