"""The root of the command-line tool, built from modules here and from entry points."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points

import typer
from typer.core import TyperGroup

from neutron_cni.values.errors import CniError

MODULES = ("version", "install", "leases", "gc", "by_hand.commands")
"""Modules of `neutron_cni.cli` that have commands; the help shows them in this order."""

GROUP = "neutron_cni.commands"
"""The group of entry points whose objects are typer apps; its name is that of the command."""


class _Root(TyperGroup):
    """Shows a CniError as its sentence and ends with status 1, without a trace."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CniError as error:
            typer.secho(f"neutron-cni: {error.message}", fg="red", err=True)
            if error.details:
                typer.echo(f"  {error.details}", err=True)
            raise typer.Exit(1) from None


def build() -> typer.Typer:
    """The whole tool. A sub-app of another package that can't be loaded is only reported."""
    app = typer.Typer(
        name="neutron-cni",
        cls=_Root,
        help="Kubernetes pods as first-class citizens of OpenStack Neutron networks.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
    )
    for name in MODULES:
        import_module(f"neutron_cni.cli.{name}").register(app)
    for entry in entry_points(group=GROUP):
        if not _may_be_wanted(entry.name):
            continue
        try:
            app.add_typer(entry.load(), name=entry.name)
        except Exception as error:
            typer.echo(f"neutron-cni: the command {entry.name} is broken: {error}", err=True)
    return app


def _may_be_wanted(command: str) -> bool:
    """Whether this command line can be for `command`; if not, its package need not be imported."""
    first = next((word for word in sys.argv[1:] if not word.startswith("-")), command)
    return first == command
