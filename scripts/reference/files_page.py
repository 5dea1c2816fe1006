"""docs/reference/files.md: what is where on a node."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

import inspect
from pathlib import Path

from neutron_cni.cli import device_rules, install, leases
from neutron_cni.cli.conflist import COPY
from neutron_cni.files import LIMIT
from neutron_cni.hosts.trace import LOG_LIMIT
from neutron_cni.ipam.modes import unmanaged
from neutron_cni.netlink import nic_records
from neutron_cni.netlink.filters.chains import chains_of
from neutron_cni.netlink.namespaces import NAMED
from neutron_cni.netlink.plan import NodeSource
from neutron_cni.plugins import RECIPES
from neutron_cni.plugins.ownership import PREFIX
from neutron_cni.plugins.veth_host import (
    HOST_PREFIX,
    NODE_MARK,
    RETURN_PRIORITY,
    RETURN_TABLE,
)
from neutron_cni.store.machine import MACHINE_ID, PRODUCT_UUID
from neutron_cni.values.ipam_config import IpamConfig


def text() -> str:
    """The page."""
    config = IpamConfig(type="cni-ipam-neutron")
    state = config.state_dir
    bin_dir = _default(install.install, "bin_dir")
    conf_dir = _default(leases.leases, "conf_dir")
    conf_name = _default(install.install, "conf_name")
    store = Path(state) / "store.db"
    launchers = "<br>".join(f"`{bin_dir}/{name}`" for name in sorted(RECIPES))
    chains = chains_of(NodeSource(4, HOST_PREFIX, NODE_MARK))
    node_chains = ", ".join(f"`{chain.name}`" for chain in chains)
    named = ", ".join(f"`{path}`" for path in NAMED)
    return f"""# Files on a node

| path | mode | what | may be removed |
|---|---|---|---|
| {launchers} | 0755 | launchers: a few lines of Python that name the environment they were installed from | by `neutron-cni uninstall` |
| `{conf_dir}/{conf_name}` | 0644 | the CNI network | by `neutron-cni uninstall --conf-dir {conf_dir}` |
| `{conf_dir}/{conf_name}.{COPY}-TIME` | as the file's | what the network's file was before `neutron-cni install` changed it; no runtime loads it | yes |
| `{device_rules.ETC / device_rules.RULES}` | 0644 | udev's rule that pods' NICs are nobody's on the node to configure ([nova-interface](../how-to/nova-interface.md#what-we-tell-them-ourselves)); where there is udev | by `neutron-cni uninstall` |
| `{device_rules.ETC / device_rules.NETWORK}` | 0644 | the same for systemd-networkd, where there is that folder | by `neutron-cni uninstall` |
| `/etc/openstack/clouds.yaml` | 0600, yours | the credentials; another place: `cloudsFile` | no |
| `{store}` | 0600 in a folder of 0700 | the leases ([store](store.md)) | never while pods run |
| `{store}-wal`, `{store}-shm` | 0600 | belong to it (SQLite); copy all three or none | never while pods run |
| `{store}.lock` | 0600 | held while the store is made, migrated or set aside | when no plugin runs |
| `{store}.damaged-TIME-PID` | | a damaged store that was set aside; `-wal` and `-shm` with it | yes |
| `{state}/plugin.log` | 0600 | traces of unexpected errors (code 999) | yes |
| `{state}/plugin.log.1` | 0600 | the one before, set aside at {LOG_LIMIT >> 20} MiB | yes |
| `{store}.of-another-machine-TIME-PID` | | a store that came with a copied disk and was set aside; `-wal` and `-shm` with it | yes |
| `{state}/burst-*`, `{state}/burst-*.lock` | 0600 | where the plugins of a burst find the one that does their calls; always here, whatever `stateDir` says, and only where this folder exists | when no plugin runs |
| `{state}/locks/*.lock` | 0600 | one lock per port of the VM, 256 at most for pods with ports of their own, one per cloud for the NICs of mode `nova-interface`, one for the sweeper, one per port for whoever asks the cloud for STATUS, 64 at most for `attach` and `detach`; the name is a hash | when no plugin runs |
| `{state}/by-hand/*.json` | 0600 in a folder of 0700 | what `neutron-cni attach` attached, and with which configuration; `--state-dir` says where | by `neutron-cni detach` |
| `{state}/{unmanaged.FOLDER}/MAC` | 0600 in a folder of 0700 | empty: the NIC with this MAC is, or was, a pod's by mode `nova-interface`; udev's rule looks for it | when no pod has such a NIC |
| `{state}/login-*.json` | 0600 | a token of each cloud's login, until it expires, sealed with the cloud's entry in clouds.yaml; ignored where others than root can write file or folder, or read the file | yes, costs a login |
| `{nic_records.FOLDER}/*.json` | 0600 in a folder of 0700 | how each NIC was on the node that `host-device-plus` has moved into a pod, for its way back (`*.late.json`: DEL did not find it, and for ten minutes the next calls look for it) | never while such pods run; empty after a reboot |

`stateDir` of the [configuration](configuration.md) moves all from the store on. It must survive a reboot,
and neither it nor a folder above it may be writable by other users (a sticky one above, such as `/tmp`,
may): a call ends with code 105 and the `chmod` to do. Nothing in it is opened through a symbolic link.

Configuration (clouds.yaml with its certificates, secure.yaml, networks, a kubeconfig) is a regular file of at most {LIMIT >> 20} MiB:
a FIFO or a device in its place is an error at once.

Read only: `{MACHINE_ID}` and `{PRODUCT_UUID}` (part of this installation's id in Neutron's tags; the
second also tells a copied disk from its original),
`/proc/sys/kernel/random/boot_id` (to notice a reboot), {named}, `/proc/*/ns/net`
and `/proc/*/mountinfo` (which namespace has an address).

## In the kernel

| what | where | goes with |
|---|---|---|
| `veth-route`: a veth `veth` + 11 hex digits, MAC ee:ee:ee:ee:ee:ee, alias `{PREFIX}NETWORK CONTAINER IFNAME` | node | DEL |
| a route to the pod's address by that veth | node | DEL |
| a permanent neighbour entry for the pod's address on that veth | node | DEL |
| a proxy neighbour entry (protocol 110) for the pod's address on the NIC whose port has it; of another IPAM's address only if it is of the NIC's own subnet | node | DEL; STATUS brings it back |
| the link `dummy0` with 169.254.1.1/32, if the kernel has dummy links | node | stays |
| `net.ipv4.conf.UPLINK.forwarding=1`, `net.ipv4.neigh.UPLINK.proxy_delay=0`; IPv6: also `forwarding`, `proxy_ndp`, `accept_ra=2` where it was 1 | node | stays |
| `neutron-ipvlan`: `eth0`, an ipvlan child of the NIC, with alias `{PREFIX}NETWORK CONTAINER IFNAME ipvlan`, its addresses and routes, of a further network also rules 1101 with a table of its own; on the node nothing, but in modes `l3` and `l3s` a proxy neighbour entry and its settings as above | pod | the namespace, or DEL |
| `host-device-plus`: a NIC of the node, as `eth0` and so on, with alias `{PREFIX}NETWORK CONTAINER IFNAME host-device`, its addresses and routes, of a further network also rules 1101 with a table of its own | pod | DEL, which puts the NIC back on the node |
| `veth-host`: a veth `{HOST_PREFIX}` + 10 hex digits, MAC ee:ee:ee:ee:ee:ee, with a route and a permanent neighbour entry to the pod's address | node | DEL |
| `veth-host`: `veth0` with 169.254.1.2, its routes, a permanent neighbour entry for 169.254.1.1 or fe80::1, rule {RETURN_PRIORITY}, table {RETURN_TABLE}, and the return mark's chains `ncni-in-veth0` and `ncni-out-veth0` | pod | the namespace, or DEL |
| `veth-host`: chains {node_chains}, in nftables' table `neutron-cni` (`ip`, `ip6`), or iptables-legacy where the kernel has no nftables | node | stays, for all pods |
| `veth-route`: `eth0` with its addresses, `169.254.1.1 dev eth0 scope link`, `default via 169.254.1.1`, a permanent neighbour entry for it | pod | the namespace, or DEL |

## Processes

None is always there. A plugin lives for one call. After an ADD or a DEL a *sweeper*
(`python -I -m neutron_cni.ipam.sweeper {state}`) lives until new pods have been announced
for some seconds, and all that rests has been given back, NICs too. It may be killed: the next call starts another.
"""


def _default(command: object, parameter: str) -> str:
    assert callable(command)
    return str(inspect.signature(command).parameters[parameter].default)
