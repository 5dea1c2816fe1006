"""`neutron-cni gc --node`: who is asked whether a node is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neutron_cni.ipam.audit.leavings import known_to_api_server
from neutron_cni.values.errors import CniError


@pytest.mark.parametrize("first", ["", "/nonexistent:"], ids=["alone", "in a list"])
def test_a_kubeconfig_that_is_a_fifo_is_an_error_at_once(tmp_path: Path, first: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CniError, match="is a FIFO"):
        known_to_api_server(f"{first}{tmp_path / 'pipe'}")("node")
