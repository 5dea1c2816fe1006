"""Runs the checks, shows them as a table, and says what to try next."""

import os
import sys
import time
from pathlib import Path

from neutron_cni_lab.demo.checks import CHECKS, Check, Outcome
from neutron_cni_lab.demo.rows import Rows
from neutron_cni_lab.demo.scene import Scene
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.lab import Lab
from neutron_cni_lab.paths import default_name


def show(lab: Lab, began: float) -> bool:
    """Make the pods, print the table and what to try next; whether all was as it should be.

    `began`: when the user's wait began, in Unix seconds.
    """
    scene = Scene(lab)
    rows = Rows([check.what for check in CHECKS], [check.path for check in CHECKS])
    first = time.monotonic()
    failed = 0
    rows.header()
    for check in CHECKS:
        since = time.monotonic()
        outcome = _measured(check, scene)
        failed += not outcome.ok
        rows.result(check.what, check.path, outcome.ok, outcome.text, time.monotonic() - since)
    verdict = f"{failed} of {len(CHECKS)} FAILED" if failed else f"All {len(CHECKS)} passed"
    took, total = time.monotonic() - first, time.time() - began
    rows.console.print(f"\n{verdict} in {took:.0f} s; {total:.0f} s in all.", style="bold")
    if not failed:
        rows.console.print(_what_next(scene), soft_wrap=True, markup=False)
    return not failed


def _measured(check: Check, scene: Scene) -> Outcome:
    """What went wrong, of whatever kind, is that row's; the others can still be measured."""
    try:
        return check.measure(scene)
    except LabError as error:
        return Outcome(False, str(error))
    except Exception as error:
        return Outcome(False, f"{type(error).__name__}: {error}")


def _what_next(scene: Scene) -> str:
    lab = scene.lab
    program = _program()
    name = lab.places.name
    option = "" if name == default_name() else f" --name {name}"
    node = f"{program} lab exec{option} node1 --"
    port = f"{lab.facts['api_url']}/v2.0/ports/{scene.node1.port_id}"
    floating = scene.floating_ip(scene.pod1)
    pods = {pod.name: pod.address for pod in scene.pods}
    return f"""
Left running:
  node1 {scene.node1.address}: pod1 {pods["pod1"]} (floating IP {floating}), pod2 {pods["pod2"]}
  node2 {scene.node2.address}: pod3 {pods["pod3"]}

Try by hand:
  {node} ip route
  {node} ip netns exec pod1 ip route
  {node} ip netns exec pod1 ping -c3 {pods["pod3"]}
  {program} lab exec{option} internet -- ping -c3 {floating}
  curl -s '{port}?fields=fixed_ips'

A pod of your own; after `del` its address rests 30 s on the port, then Neutron has it back:
  {node} ip netns add mine
  {node} env CNI_PATH=/opt/cni/bin cnitool add neutron /run/netns/mine
  {node} ip netns exec mine ping -c3 {scene.far_address}
  {node} env CNI_PATH=/opt/cni/bin cnitool check neutron /run/netns/mine
  {node} env CNI_PATH=/opt/cni/bin cnitool del neutron /run/netns/mine

`{program} lab status{option}` shows the parts, `{program} lab down{option}` removes all of it."""


def _program() -> str:
    """This program as the user can type it where he is."""
    program = Path(sys.prefix) / "bin" / "neutron-cni"
    relative = os.path.relpath(program)
    return str(program) if relative.startswith("..") else relative
