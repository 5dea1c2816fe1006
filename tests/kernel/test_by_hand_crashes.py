"""`neutron-cni attach` and `detach` when something dies, fails or is lost: nothing leaks."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.kernel.by_hand import SECONDS, Site, netns, process


def test_a_container_that_is_gone_is_detached_by_the_word_of_then(site: Site) -> None:
    with process() as child:
        site.run("attach", str(child.pid))
    assert site.leases
    site.run("detach", str(child.pid))
    assert site.calls[-1] == "DEL eth0 "
    assert site.is_clean


def test_a_namespace_made_anew_gets_what_the_one_of_then_had(site: Site) -> None:
    """The plugin gives no address twice, as upstream's host-local: so the first goes back first."""
    path = site.world.add("pod")
    site.run("attach", path)
    site.world.remove("pod")
    site.world.add("pod")
    site.run("attach", path)
    assert [call.split()[0] for call in site.calls] == ["ADD", "DEL", "ADD"]
    site.run("detach", path)
    assert site.is_clean


def test_detach_goes_by_the_configuration_of_then(site: Site) -> None:
    path = site.world.add("pod")
    site.run("attach", path)
    (site.folder / "net.conflist").unlink()
    site.run("detach", path)
    assert site.is_clean


def test_without_a_record_what_is_named_is_detached(site: Site) -> None:
    path = site.world.add("pod")
    site.run("attach", path)
    for record in site.state.glob("by-hand/*.json"):
        record.unlink()
    assert "name --network and --ifname" in site.refused("detach", path)
    site.run("detach", path, "--network", "net", "--ifname", "eth0")
    assert site.is_clean


def test_what_is_gone_is_detached_by_its_id_without_a_record(site: Site) -> None:
    path = site.world.add("pod")
    identity = json.loads(site.run("attach", path, "--json"))["containerId"]
    for record in site.state.glob("by-hand/*.json"):
        record.unlink()
    site.world.remove("pod")
    site.run("detach", f"id:{identity}", "--network", "net", "--ifname", "eth0")
    assert site.is_clean


def test_a_failed_add_is_taken_back(site: Site) -> None:
    path = site.world.add("pod")
    answer = '{"code": 102, "msg": "full"}'
    fail = f"#!/bin/sh\n[ $CNI_COMMAND = DEL ] || {{ echo '{answer}'; exit 1; }}\n"
    site.plugin("fails", fail)
    site.network("net", "veth", "fails")
    assert "the plugin fails refuses ADD: full" in site.refused("attach", path)
    assert site.links(path) == {"lo"}
    assert site.is_clean


def test_what_could_not_be_taken_back_is_told_and_taken_back_later(site: Site) -> None:
    path = site.world.add("pod")
    site.plugin("fails", '#!/bin/sh\necho \'{"code": 102, "msg": "full"}\'; exit 1\n')
    site.network("net", "veth", "fails")
    said = site.refused("attach", path)
    assert "could not be taken back" in said
    (identity,) = [word for word in said.split() if word.startswith("id:")]
    assert site.leases
    site.plugin("fails", "#!/bin/sh\nexit 0\n")
    site.run("detach", identity, "--ifname", "eth0")
    assert site.links(path) == {"lo"}
    assert site.is_clean


def wait_for_call(site: Site, call: str) -> None:
    end = time.monotonic() + SECONDS
    while not [line for line in site.calls if line.startswith(call)]:
        assert time.monotonic() < end, f"no {call} came"
        time.sleep(0.01)


HANG = 'echo "$CNI_COMMAND HANG" >> {folder}/calls\nexec sleep 1000\n'


def test_killed_in_an_add_it_is_done_anew_by_the_next(site: Site) -> None:
    path = site.world.add("pod")
    hang = HANG.format(folder=site.folder)
    site.plugin("hangs", f"#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\n{hang}")
    site.network("net", "veth", "hangs")
    with site.start("attach", path) as process:
        wait_for_call(site, "ADD HANG")
        process.send_signal(signal.SIGKILL)
    assert site.leases
    assert [record["result"] for record in site.records] == [None]
    site.network("net", "veth")
    site.run("attach", path)
    site.run("detach", path)
    assert site.is_clean


def test_killed_in_an_add_it_is_detached_as_if_it_had_been_done(site: Site) -> None:
    path = site.world.add("pod")
    hang = HANG.format(folder=site.folder)
    site.plugin("hangs", f"#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\n{hang}")
    site.network("net", "veth", "hangs")
    with site.start("attach", path) as process:
        wait_for_call(site, "ADD HANG")
        process.send_signal(signal.SIGKILL)
    site.run("detach", path)
    assert site.is_clean


def test_a_container_that_ends_meanwhile_is_not_attached(site: Site) -> None:
    """Its pid may be another's by the time that the second plugin looks."""
    with process() as child:
        dies = f"while grep -q '^State:.[RSD]' /proc/{child.pid}/status; do sleep 0.01; done"
        kill = f"#!/bin/sh\n[ $CNI_COMMAND = DEL ] || {{ kill -9 {child.pid}; {dies}; }}\n"
        answer = '{"cniVersion": "1.0.0"}'
        site.plugin("kills", f"{kill}echo '{answer}'\n")
        site.network("net", "veth", "kills")
        said = site.refused("attach", str(child.pid))
    assert f"process {child.pid} ended meanwhile" in said
    assert site.calls[-1] == "DEL eth0 "
    assert site.is_clean


def test_a_plugin_that_hangs_is_given_up_and_taken_back(site: Site) -> None:
    path = site.world.add("pod")
    site.plugin("hangs", "#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\nexec sleep 1000\n")
    site.network("net", "veth", "hangs")
    said = site.refused("attach", path, "--timeout", "5")
    assert "--timeout gives it more time" in said
    assert site.is_clean


def test_two_at_once_wait_for_each_other(site: Site) -> None:
    path = site.world.add("pod")
    with site.start("attach", path) as one, site.start("attach", path) as two:
        said = [process.communicate(timeout=SECONDS)[1] for process in (one, two)]
        assert sorted([one.returncode, two.returncode]) == [0, 1], said
    assert any("has an interface eth0 already" in text for text in said)
    site.run("detach", path)
    assert site.is_clean


@pytest.mark.parametrize("when", ["ADD", "DEL"])
@pytest.mark.parametrize("order", [("kills", "veth"), ("veth", "kills")])
def test_killed_before_or_after_any_plugin_nothing_leaks(
    site: Site, when: str, order: tuple[str, str]
) -> None:
    path = site.world.add("pod")
    once = f"[ $CNI_COMMAND = {when} ] && rm {site.folder}/armed 2>/dev/null && kill -9 $PPID"
    script = f'#!/bin/sh\n{once}\n[ $CNI_COMMAND = DEL ] || echo \'{{"cniVersion": "1.0.0"}}\'\n'
    site.plugin("kills", script)
    site.network("net", *order)
    if when == "DEL":
        site.run("attach", path)
    (site.folder / "armed").touch()
    with site.start("attach" if when == "ADD" else "detach", path) as process:
        process.communicate(timeout=SECONDS)
    assert process.returncode == -signal.SIGKILL
    assert len(site.records) == 1
    site.run("detach", path)
    assert site.links(path) == {"lo"}
    assert site.is_clean


def test_a_namespace_that_lives_on_with_another_process_is_detached(site: Site) -> None:
    """Its path of then is gone with its process; the interface is still that of then."""
    with process() as first, process("nsenter", f"--net={netns(first)}", own=False) as second:
        site.run("attach", str(first.pid))
        first.kill()
        first.wait(SECONDS)
        site.run("detach", str(second.pid))
        assert site.links(netns(second)) == {"lo"}
    assert site.is_clean


def test_what_one_namespace_had_is_not_taken_from_the_next_of_the_same_number(
    site: Site,
) -> None:
    """The kernel numbers a new namespace as one that has ended: its interface is not touched."""
    with process() as first:
        site.run("attach", str(first.pid))
    path = site.world.add("pod")
    site.world.batch("pod", "link add eth0 type veth peer name other")
    (record,) = site.state.glob("by-hand/*.json")
    document = json.loads(record.read_text())
    status = Path(path).stat()
    document |= {"device": status.st_dev, "inode": status.st_ino}
    record.write_text(json.dumps(document))
    assert "nothing is recorded" in site.refused("detach", path)
    assert site.links(path) == {"lo", "eth0", "other"}
    site.run("detach", f"id:{document['containerId']}")
    assert site.links(path) == {"lo", "eth0", "other"}
