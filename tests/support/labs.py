"""The lab that tests run in.

Under ``./test`` each worker whose tests need one brings up its own; by hand they take the one that
$NEUTRON_CNI_LAB_NAME names (``neutron-cni lab up``).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from neutron_cni_lab import Lab
from neutron_cni_lab.driver import DEFAULT, DriverName
from neutron_cni_lab.paths import MARKER, name_for_checkout

NOTHING: dict[str, list[str]] = {"processes": [], "mounts": [], "namespaces": [], "folder": []}
"""The `traces` of a lab that is down."""


def lab_of(request: pytest.FixtureRequest) -> Lab:
    """This worker's own lab, or the one that is named."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    prefix = os.environ.get("NEUTRON_CNI_TEST_LAB_PREFIX")
    if worker and prefix:
        return _own_lab(prefix + worker.removeprefix("gw"), request)
    if not lab_by_hand():
        pytest.fail("set NEUTRON_CNI_LAB_NAME to a lab that is up, or run ./test with the part")
    return Lab.open(os.environ["NEUTRON_CNI_LAB_NAME"])


def nova_lab_of(request: pytest.FixtureRequest) -> Lab:
    """One with a Nova: this worker's own, beside its other one, or the one that is named.

    Every node of such a lab is a server, which takes seconds: other tests do without.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    prefix = os.environ.get("NEUTRON_CNI_TEST_LAB_PREFIX")
    if worker and prefix:
        return _own_lab(f"{prefix}{worker.removeprefix('gw')}n", request, nova=True)
    lab = lab_of(request)
    if not lab.has_nova:
        pytest.fail(f"`neutron-cni lab up --nova --name {lab.places.name}` gives the lab a Nova")
    return lab


@contextmanager
def lab_apart(name: str, **options: Any) -> Iterator[Lab]:
    """A lab for the time of a block, whoever else has one; `options` are those of `Lab.up`."""
    lab = Lab(name)
    lab.down()
    try:
        lab.up(**options)
        yield lab
    finally:
        lab.down()


def old_lab(purpose: str, *nodes: str) -> AbstractContextManager[Lab]:
    """One with the oldest Neutron that we try."""
    return lab_apart(name_for_checkout(purpose), nodes=nodes, release="21")


def driver() -> DriverName:
    """The mechanism driver of the lab that tests run in: $NEUTRON_CNI_TEST_DRIVER of workers' own
    ones (else ML2/OVN), or that of the one that is named."""
    if lab_by_hand():
        return Lab(os.environ["NEUTRON_CNI_LAB_NAME"]).driver.name
    found = os.environ.get("NEUTRON_CNI_TEST_DRIVER", DEFAULT)
    assert found in ("ovn", "ovs"), found
    return cast(DriverName, found)


def lab_by_hand() -> bool:
    """Whether the lab is one that is named: it may have been used before."""
    return bool(os.environ.get("NEUTRON_CNI_LAB_NAME")) and not os.environ.get(
        "PYTEST_XDIST_WORKER"
    )


def traces(lab: Lab) -> dict[str, list[str]]:
    """What of `lab` can be seen on the host."""
    folder, prefix = str(lab.places.folder), lab.places.namespace_prefix
    marker = f"{MARKER}={folder}".encode()
    processes = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                processes.append((entry / "cmdline").read_text())
        except OSError:
            continue
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    named = Path("/run/netns")
    return {
        "processes": processes,
        "mounts": [line for line in mounts if folder in line or prefix in line],
        "namespaces": [p.name for p in named.glob(f"{prefix}*")],
        "folder": [str(path) for path in lab.places.home.glob(f"{lab.places.name}*/")],
    }


def _own_lab(name: str, request: pytest.FixtureRequest, nova: bool = False) -> Lab:
    """A new lab, which goes with this process; `./test` removes it if that is killed."""
    lab, began = Lab(name), time.monotonic()
    request.addfinalizer(lab.down)
    _tell(request.config, f"lab {name} is brought up ...")
    lab.down()
    lab.up(nova=nova, driver=driver())
    _tell(request.config, f"lab {name} is up after {time.monotonic() - began:.0f} s")
    return lab


def _tell(config: pytest.Config, line: str) -> None:
    """A line on the terminal, past pytest's capturing."""
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{line}", file=sys.stderr, flush=True)
