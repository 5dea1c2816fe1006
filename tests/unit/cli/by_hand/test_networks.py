"""Which network is taken from a configuration folder: as libcni does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neutron_cni.cli.by_hand import work
from neutron_cni.cli.by_hand.networks import choose, read
from neutron_cni.values.errors import CniError


def write(folder: Path, file: str, name: str, *types: str, **more: Any) -> Path:
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    objects = [{"type": item} for item in types]
    document: dict[str, Any] = {"cniVersion": "1.0.0", "name": name, **more}
    document |= {"plugins": objects} if file.endswith("list") else objects[0]
    path.write_text(json.dumps(document))
    return path


def test_without_a_name_the_first_file_counts(tmp_path: Path) -> None:
    write(tmp_path, "20-a.conflist", "a", "one")
    write(tmp_path, "10-b.conf", "b", "two")
    write(tmp_path, "05-c.txt", "c", "three")
    assert choose(tmp_path, None).network.name == "b"


def test_by_name_a_list_goes_before_a_single_plugin(tmp_path: Path) -> None:
    write(tmp_path, "10-a.conf", "a", "alone")
    write(tmp_path, "20-a.conflist", "a", "one", "two")
    assert choose(tmp_path, "a").network.types == ("one", "two")


def test_a_broken_file_of_others_is_passed_over_and_told(tmp_path: Path) -> None:
    (tmp_path / "00-x.conflist").write_text("{")
    write(tmp_path, "10-a.conflist", "a", "one")
    found = choose(tmp_path, None)
    assert found.network.name == "a"
    assert "00-x.conflist" in found.warnings[0]


def test_a_broken_file_is_named_if_nothing_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "00-x.conflist").write_text('{"cniVersion": "1.0.0", "name": "x", "plugins": []}')
    with pytest.raises(CniError, match=r"has no network; and .*00-x.conflist: .* is empty"):
        choose(tmp_path, None)


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_name_that_no_file_has_is_told(tmp_path: Path, folder: str) -> None:
    with pytest.raises(CniError, match="has no network 'web'"):
        choose(tmp_path / folder, "web")


def test_plugins_of_the_networks_own_folder_come_last(tmp_path: Path) -> None:
    path = write(tmp_path, "10-a.conflist", "a", "one")
    write(tmp_path, "a/20-more.conf", "ignored", "three")
    write(tmp_path, "a/10-more.conf", "ignored", "two")
    assert read(path).types == ("one", "two", "three")
    inlined = write(tmp_path, "11-a.conflist", "a", "one", loadOnlyInlinedPlugins=True)
    assert read(inlined).types == ("one",)


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, "any.conflist", "a", "one")
    assert work.choose(tmp_path / "nowhere", None, path).network.name == "a"
    assert work.choose(tmp_path, "a", path).network.name == "a"
    with pytest.raises(CniError, match="is network a, not b"):
        work.choose(tmp_path, "b", path)


def test_a_fifo_in_a_files_place_is_an_error_at_once(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.conflist")
    with pytest.raises(CniError, match="is a FIFO"):
        read(tmp_path / "pipe.conflist")
