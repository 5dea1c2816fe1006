"""What this node holds, what differs from Neutron, and what of that can be mended.

`neutron-cni leases` and `gc` print what these functions return; nothing here changes anything.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from neutron_cni.ipam import node
from neutron_cni.ipam.audit.compare import Linked, doubtful, unused
from neutron_cni.ipam.audit.configured import Configured, configured
from neutron_cni.ipam.audit.waiting import why_waiting
from neutron_cni.ipam.modes import MODES
from neutron_cni.ipam.modes.contract import Finding, Kind, Known
from neutron_cni.ipam.settling import confirmed, connected
from neutron_cni.store import Record, State, Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig, Mode

_MAY_BE_OURS = "it may have a network of ours, so nothing that could be its is released"
_NOT_OURS = "passed over, as it is no network of ours; the runtime may stumble over it"

Group = tuple[str, Mode]
"""Networks that can be asked about together: one anchor, one mode.

Where every attachment has an anchor of its own, that of an attachment with token "all" stands for
them.
"""


@dataclass(frozen=True, slots=True)
class Survey:
    """Every lease of the node, what differs, and sentences that say why some were not compared.

    `warnings`: sentences about what keeps nothing from working: files of the configuration folder
    that are somebody else's to mend, pods' addresses that the cloud's DNS gives the node's name.
    `waits`: by a lease's row why it waits, where that is known.
    """

    leases: list[Record]
    findings: list[Finding]
    problems: list[str]
    warnings: list[str] = field(default_factory=list)
    waits: dict[int, str] = field(default_factory=dict)


class Action(StrEnum):
    """What `mend` does about a finding."""

    RELEASE = "release"
    TAKE_OVER = "take over"
    PUT_BACK = "put back"


@dataclass(frozen=True, slots=True)
class Work:
    """What `mend` would do, and sentences that say why it may not be all.

    `kept`: what looks idle, but may be in use by a network that could not be read. `doubtful`: what
    the runtime may have forgotten, which is released only where an operator names it.
    """

    steps: list[tuple[Action, Finding]]
    problems: list[str]
    warnings: list[str] = field(default_factory=list)
    kept: list[Finding] = field(default_factory=list)
    doubtful: list[Finding] = field(default_factory=list)


def is_no_node(state_dir: Path, conf_dir: Path) -> bool:
    """Whether nothing here was ever ours: then there is no store to be made for looking at it."""
    found = configured(conf_dir)
    return not ((state_dir / "store.db").exists() or found.networks or found.may_lack_ours)


def survey(store: Store, conf_dir: Path, offline: bool = False) -> Survey:
    """Every configured or used network compared with Neutron; `offline`: only what is held.

    A cloud that is down does not stop the others, nor does a broken file. Raises CniError (store).
    """
    return _survey(store, configured(conf_dir), offline)


def _survey(store: Store, here: Configured, offline: bool) -> Survey:
    leases = store.all()
    findings: list[Finding] = []
    problems = [f"{item.why}: {_MAY_BE_OURS}" for item in here.broken if item.may_be_ours]
    warnings = [f"{item.why}: {_NOT_OURS}" for item in here.broken if not item.may_be_ours]
    for group, configs in ({} if offline else groups(store, here)).items():
        try:
            differing, remarks = _compare(store, group, configs)
        except CniError as error:
            problems.append(str(error))
            continue
        findings += differing
        warnings += [item for item in remarks if item not in warnings]
    return Survey(
        leases=leases,
        findings=list(dict.fromkeys(findings)),
        problems=list(dict.fromkeys(problems)),
        warnings=warnings,
        waits={item.id: why for item in leases if (why := why_waiting(store, item))},
    )


def work_to_do(store: Store, conf_dir: Path, linked: Linked) -> Work:
    """What is to be released, taken over and put back. Raises CniError as `survey` does."""
    here = configured(conf_dir)
    idle = unused(store.all(), node.namespace_with, linked)
    surveyed = _survey(store, here, offline=False)
    steps = [(Action.RELEASE, finding) for finding in idle]
    for finding in surveyed.findings:
        if finding.kind is Kind.UNKNOWN:
            used = any(node.namespace_with(address) for address in finding.addresses)
            steps.append((Action.TAKE_OVER if used else Action.RELEASE, finding))
    released = {finding.record_id for finding in idle}
    steps += [
        (Action.PUT_BACK, finding)
        for finding in surveyed.findings
        if finding.mendable and finding.record_id not in released
    ]
    kept = [item for action, item in steps if action is Action.RELEASE and _unsure(item, here)]
    steps = [(action, item) for action, item in steps if item not in kept]
    others = [record for record in store.all() if record.id not in released]
    doubts = doubtful(others, node.occupied())
    return Work(steps, surveyed.problems, surveyed.warnings, kept, doubts)


def _unsure(finding: Finding, here: Configured) -> bool:
    """Whether its network may be in a file that could not be read."""
    return here.may_lack_ours and finding.network not in here.networks


def groups(store: Store, here: Configured) -> dict[Group, list[IpamConfig]]:
    """The configurations of every group, those of leases before those of the node's networks."""
    found: dict[Group, list[IpamConfig]] = {}
    folder = store.path.parent
    # A network with another store is none of this one's.
    mine = [item for item in here.networks.values() if Path(item.state_dir) == folder]
    for config in [*(record.config for record in store.all()), *mine]:
        others = [item for item in found.get(_group_of(config), []) if item != config]
        found[_group_of(config)] = [*others, config]
    return found


def names_of_this_node(store: Store, conf_dir: Path) -> set[str]:
    """What this node is called: by itself, and by its networks' configurations."""
    configs = [config for some in groups(store, configured(conf_dir)).values() for config in some]
    return {socket.gethostname(), *(node.name(config) for config in configs)}


def _group_of(config: IpamConfig) -> Group:
    return MODES[config.mode].anchor(config, "all"), config.mode


def _compare(
    store: Store, group: Group, configs: list[IpamConfig]
) -> tuple[list[Finding], list[str]]:
    """What differs for one group, and remarks. Raises CniError when Neutron can't be asked."""
    anchor, mode = group
    page = MODES[mode].page
    with connected(store, configs, anchor, Deadline.after(configs[-1].timeout)) as context:
        strays = page.look_for_strays(context)
        # Read after Neutron: a lease is written before what it stands for is made.
        leases = store.all()
        held = [r for r in leases if r.state is State.HELD and _group_of(r.config) == group]
        judged = page.judge(held, page.look(context, held))
        if judged:
            judged = confirmed(page, context, held, judged)
    nonces = frozenset(record.nonce for record in leases)
    addresses = frozenset(item.address for record in leases for item in record.addresses)
    found = _first_of_each_address(judged) + page.judge_strays(Known(nonces, addresses), strays)
    return found, page.remarks(strays)


def _first_of_each_address(findings: Iterable[Finding]) -> list[Finding]:
    """An operator is told the first of what is wrong with a lease's address; CHECK tells all."""
    found: dict[tuple[int, object], Finding] = {}
    for finding in findings:
        found.setdefault((finding.record_id, finding.addresses), finding)
    return list(found.values())
