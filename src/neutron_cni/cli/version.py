"""`neutron-cni version`."""

from __future__ import annotations

import typer

from neutron_cni import __version__
from neutron_cni.cni.versions import SUPPORTED


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(version)


def version() -> None:
    """Show the version, and the supported versions of the CNI specification."""
    typer.echo(f"neutron-cni {__version__}")
    typer.echo(f"CNI {', '.join(SUPPORTED)}")
