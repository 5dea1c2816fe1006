"""The command-line tool `neutron-cni`. Each module here is one group of commands.

A module of commands has `register(app)`, which adds them, and imports what is slow inside of
them. Packages outside (the lab) add a sub-app by an entry point of the group
`neutron_cni.commands`.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The entry point."""
    from neutron_cni.cli.app import build

    build()()
