"""``python -m neutron_cni_lab.kubernetes.lock v1.36.3``: has the lab build another Kubernetes.

It writes go.mod and go.sum anew. Kubernetes' own go.mod takes part of its modules from folders of
its repository, which the published module does not have; they are published beside it as v0.x.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

from neutron_cni_lab.golang import toolchain
from neutron_cni_lab.kubernetes.programs import MODULE, PACKAGES

_STAGED = re.compile(r"^\s*(k8s\.io/\S+) => \./staging", re.MULTILINE)
_REQUIRED = re.compile(r"^\t(\S+) (v\S+)(?: // indirect)?$", re.MULTILINE)


def module(version: str, theirs: str) -> str:
    """A go.mod that requires Kubernetes `version` and what its own go.mod, `theirs`, requires."""
    staged = f"v0.{version.removeprefix('v1.')}"
    settings = re.findall(r"^(?:go|godebug) .*$", theirs, re.MULTILINE)
    required = [item for item in _REQUIRED.findall(theirs) if item[1] != "v0.0.0"]
    return "\n".join(
        [
            "module neutron-cni-lab/kubernetes",
            *settings,
            f"require k8s.io/kubernetes {version}",
            *("require (", *(f"\t{name} {wanted}" for name, wanted in required), ")"),
            *(
                "replace (",
                *(f"\t{name} => {name} {staged}" for name in _STAGED.findall(theirs)),
                ")",
            ),
            "",
        ]
    )


def main(version: str) -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder, toolchain(Path(folder) / "go") as go:
        place = Path(folder)
        told = json.loads(go(["mod", "download", "-json", f"k8s.io/kubernetes@{version}"]))
        (place / "go.mod").write_text(module(version, Path(told["GoMod"]).read_text()))
        go(["list", "-mod=mod", "-deps", *PACKAGES.values()], cwd=place)
        MODULE.mkdir(exist_ok=True)
        for name in ("go.mod", "go.sum"):
            (MODULE / name).write_text((place / name).read_text())


if __name__ == "__main__":
    main(sys.argv[1])
