"""Keeps two libraries from importing the whole of themselves.

Who imports a module of pyroute2 or openstacksdk first runs the package's `__init__`, which imports
all that there is: databases and asyncio in the one, every service of a cloud in the other. That is
135 ms of processor and 650 modules for every pod, and a plugin needs a few modules of each. So the
package is put in its place as the import system would do it, and its `__init__` is not run.

Only for processes that are ours alone: others may want what is in it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

PACKAGES = ("pyroute2", "openstack")


def import_lightly() -> None:
    """From now on, imports of modules in these packages are imports of nothing else."""
    for name in PACKAGES:
        spec = None if name in sys.modules else find_spec(name)
        if spec is not None:
            sys.modules[name] = module_from_spec(spec)
