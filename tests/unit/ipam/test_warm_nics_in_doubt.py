"""NICs in reserve when several things happen at once, or somebody changed what was made."""

from __future__ import annotations

from neutron_cni.ipam import service
from neutron_cni.store import State, Store
from tests.unit.ipam.test_nova_interface import Site
from tests.unit.ipam.test_warm_nics import (
    WARM,
    Node,
    filled,
    nics,
    site,
)

__all__ = ["nics", "site"]

ATTACH = ("POST", "/os-interface")


def test_a_call_that_ends_does_not_give_up_the_nic_that_a_later_call_was_handed(
    site: Site, nics: Node
) -> None:
    filled(site)
    shown, nics.hidden = nics.hidden, set(nics.waiting())
    first, second = object(), object()
    wish = service._wish(site.request("c1", **WARM))
    with Store(str(site.host.state_dir)) as store:
        of_first, _ = service._want(store, wish, first)
        assert of_first.state is State.WANTED
        nics.hidden = shown
        of_second, handed_out = service._want(store, wish, second)
        assert handed_out
        service._give_up(store, of_first, first)
        service._forget_call(of_first, first)
        found = store.get(of_second.id)
        service._forget_call(of_second, second)
    assert found is not None
    assert found.state is State.HELD
    assert of_first.token not in service._LATEST_CALLS
