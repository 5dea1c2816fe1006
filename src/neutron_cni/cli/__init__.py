"""The command-line tool `neutron-cni`. Each module in `app.MODULES` is one group of commands.

Such a module has `register(app)`, which adds its commands. It imports slow modules only inside of
the commands. Other packages (the lab) add a sub-app by an entry point of the group
`neutron_cni.commands`.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The entry point of the executable `neutron-cni`."""
    from neutron_cni.cli.app import build

    build()()
