"""Keeps pyroute2 and openstacksdk from importing all of their modules.

The first import of any module of such a package runs the package's `__init__`, which imports all
the others: databases and asyncio in pyroute2, every service of a cloud in openstacksdk. That is
135 ms of processor time and 650 modules for every pod, and a plugin needs a few modules of each.
So `import_lightly` puts the package into `sys.modules`, as the import system would, but does not
run its `__init__`.

Only for processes that run neutron-cni alone: other programs may need what `__init__` defines.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

PACKAGES = ("pyroute2", "openstack")


def import_lightly() -> None:
    """From now on, importing a module of `PACKAGES` does not run the `__init__` of its package.

    A package that is imported already, or not installed, is left as it is.
    """
    for name in PACKAGES:
        spec = None if name in sys.modules else find_spec(name)
        if spec is not None:
            sys.modules[name] = module_from_spec(spec)
