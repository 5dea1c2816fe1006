"""What of the host's kernel the lab sees to."""

import os
from pathlib import Path

from neutron_cni_lab.processes import run


def load_dummy() -> None:
    """Load the module ``dummy`` where it is one that is not loaded.

    A node asks the kernel whether there are dummy devices. The kernel would load the module for
    that, and the module make a ``dummy0``: in the host's namespace, where nobody takes it away.
    """
    modules = Path("/lib/modules") / os.uname().release / "modules.dep"
    known = modules.read_text() if modules.exists() else ""
    loaded = Path("/sys/module/dummy").exists()
    program = Path("/sbin/modprobe")  # without it the kernel can't load one either
    if dummy_is_unloaded(known, loaded) and program.exists():
        run([program, "dummy", "numdummies=0"], check=False)


def dummy_is_unloaded(modules_dep: str, loaded: bool) -> bool:
    """Whether ``dummy`` is a module, by the text of modules.dep(5), and not in use yet."""
    paths = (line.partition(":")[0] for line in modules_dep.splitlines())
    return not loaded and any(Path(path).name.split(".")[0] == "dummy" for path in paths)
