"""The lab itself: it keeps its promises about what it leaves behind and what it repairs.

In a lab of its own, so that it can be killed and taken down beside the one the other tests use.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from neutron_cni_lab import Lab, LabError, daemons
from neutron_cni_lab.paths import name_for_checkout
from neutron_cni_lab.processes import is_ours
from tests.openstack.state import wait_for
from tests.support.labs import NOTHING, lab_apart, traces

NAME = name_for_checkout("selftest")


def host() -> dict[str, list[str]]:
    """The host's network devices, and the rules that say where packets go."""
    found = {"devices": sorted(path.name for path in Path("/sys/class/net").iterdir())}
    for family in ("-4", "-6"):
        for what in (["rule"], ["route", "show", "table", "all"]):
            found[f"ip {family} {what[0]}"] = output("ip", family, *what)
    for program in ("iptables-save", "ip6tables-save"):
        # Without the times in comments, and the counters.
        lines = (line.partition(" [")[0] for line in output(program))
        found[program] = [line for line in lines if not line.startswith("#")]
    return found


def output(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def host_before() -> dict[str, list[str]]:
    return host()


@pytest.fixture(scope="module")
def lab(host_before: dict[str, list[str]]) -> Iterator[Lab]:
    with lab_apart(NAME) as lab:
        yield lab


def reaches_internet(lab: Lab, node: str) -> bool:
    ping = ["ping", "-c1", "-w30", lab.facts["far_address"]]
    return lab.node(node).exec(ping, check=False).returncode == 0


def monitor_of(lab: Lab, part: str) -> int:
    """The process that starts this daemon again when it crashes."""
    (pid,) = daemons.processes(lab.places.folder, part) - {lab.switch.pid(part)}
    return pid


def start(command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "neutron_cni_lab", command, "--name", NAME])


def test_up_changes_nothing_of_the_host(host_before: dict[str, list[str]], lab: Lab) -> None:
    assert lab.facts["up"]
    assert host() == host_before


def test_nodes_reach_router_each_other_internet_and_api(lab: Lab) -> None:
    node = lab.node("node1")
    for target in ("10.10.0.1", lab.node("node2").address, lab.facts["far_address"]):
        node.exec(["ping", "-c1", "-w30", target])
    answer = node.exec(["curl", "-sS", "-m60", lab.facts["node_api_url"]])
    assert '"v2.0"' in answer.stdout


def test_a_source_address_that_is_not_on_the_port_is_dropped(lab: Lab) -> None:
    node = lab.node("node1")
    node.exec(["ip", "address", "add", "10.10.15.250/32", "dev", "eth0"])
    ping = ["ping", "-c1", "-W1", "-I", "10.10.15.250", "10.10.0.1"]
    assert node.exec(ping, check=False).returncode != 0
    node.exec(["ip", "address", "del", "10.10.15.250/32", "dev", "eth0"])


def test_exec_keeps_status_stdin_and_stdout(lab: Lab) -> None:
    done = lab.node("node1").exec(["sh", "-c", "cat; exit 7"], input="hello", check=False)
    assert (done.stdout, done.returncode) == ("hello", 7)


def test_a_node_has_its_own_files_devices_and_namespaces(lab: Lab) -> None:
    node = lab.node("node1")
    node.exec(["sh", "-c", "ip netns add mine; touch /var/lib/mine /etc/mine /run/mine"])
    seen = lab.node("node2").exec(["sh", "-c", "ls /var/lib /etc /run; ip netns"]).stdout.split()
    assert "mine" not in seen
    assert not Path("/run/netns/mine").exists()
    assert node.exec(["ls", "/sys/class/net"]).stdout.split() == ["eth0", "lo"]
    assert node.exec(["hostname"]).stdout.strip() == "node1"


def test_a_plain_clouds_yaml_is_enough_on_a_node(lab: Lab) -> None:
    code = "import openstack; print(openstack.connect(cloud='lab').network.get_port(%r).name)"
    done = lab.node("node1").exec(["python", "-c", code % lab.node("node1").port_id])
    assert done.stdout.strip() == "node1"


def test_env_is_enough_on_the_host(lab: Lab) -> None:
    program = [sys.executable, "-m", "neutron_cni_lab", "env", "--name", NAME]
    code = "import openstack; print(*[n.name for n in openstack.connect().network.networks()])"
    proxy = "export http_proxy=http://127.0.0.1:9"
    shell = f'{proxy}; eval "$({" ".join(program)})"; exec {sys.executable} -c "{code}"'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"tenant", "dual", "external"}


def test_nodes_on_the_dual_stack_network_and_beside_the_cloud(lab: Lab) -> None:
    dual = lab.add_node("dual1", network="dual")
    bare = lab.add_node("bare1", kind="bare")
    dual.exec(["ping", "-c1", "-w30", "fd20::1"])
    assert reaches_internet(lab, "dual1")
    assert reaches_internet(lab, "bare1")
    with pytest.raises(LabError, match="no Neutron port"):
        _ = bare.port_id
    port = dual.port_id
    lab.remove_node("dual1")
    lab.remove_node("bare1")
    assert lab.connection().network.find_port(port, ignore_missing=True) is None
    assert [node.name for node in lab.nodes] == ["node1", "node2"]


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert len(list(Lab.open(NAME).connection().network.networks())) == 3


def test_root_has_a_home_on_each_node(lab: Lab) -> None:
    lab.node("node1").exec(["sh", "-c", "touch ~/mine"])
    assert not (Path.home() / "mine").exists()
    assert "mine" not in lab.node("node2").exec(["sh", "-c", "ls ~"]).stdout


def test_a_node_is_not_taken_for_one_of_another_kind(lab: Lab) -> None:
    assert lab.add_node("node1").name == "node1"
    with pytest.raises(LabError, match="there is a node 'node1', a vm on network tenant"):
        lab.add_node("node1", kind="bare")
    with pytest.raises(LabError, match="there is a node 'node1'"):
        lab.add_node("node1", network="dual")


def test_up_twice_changes_nothing(lab: Lab) -> None:
    pids = [node.pid for node in lab.nodes], lab.neutron.pid, lab.database.pid
    facts = lab.facts
    lab.up()
    assert lab.facts == facts
    assert pids == ([node.pid for node in lab.nodes], lab.neutron.pid, lab.database.pid)


def test_neutron_and_its_database_can_be_stopped_and_started(lab: Lab) -> None:
    curl = ["curl", "-sS", "-m60", "-o", "/dev/null", "-w", "%{http_code}"]
    networks = f"{lab.facts['node_api_url']}/v2.0/networks"
    lab.stop_neutron()
    refused = lab.node("node1").exec([*curl, networks], check=False)
    assert refused.returncode == 7
    lab.start_neutron()
    assert lab.node("node1").exec([*curl, networks]).stdout == "200"
    lab.stop_database()
    hangs = lab.node("node1").exec([*curl, "-m3", networks], check=False)
    assert hangs.returncode == 28
    lab.start_database()
    assert lab.node("node1").exec([*curl, networks]).stdout == "200"


@pytest.mark.parametrize(
    "part",
    [
        "db/pid",
        "metadata/pid",
        "neutron/pid",
        "ovs/ovs-vswitchd.pid",
        "ovs/ovn-nb.pid",
        "nodes/node1/pid",
    ],
)
def test_up_repairs_what_was_killed(lab: Lab, part: str) -> None:
    port = lab.node("node1").port_id
    os.kill(int((lab.places.folder / part).read_text()), signal.SIGKILL)
    lab.up()
    assert lab.node("node1").port_id == port
    assert reaches_internet(lab, "node1")


@pytest.mark.parametrize("part", ["ovs-vswitchd", "ovsdb-server", "ovn-nb", "ovn-controller"])
def test_what_crashes_comes_back_by_itself_and_status_tells(lab: Lab, part: str) -> None:
    crashed = lab.switch.pid(part)
    assert crashed is not None
    before = lab.switch.come_backs(part).times
    os.kill(crashed, signal.SIGABRT)
    wait_for(lambda: lab.switch.pid(part) not in (None, crashed), f"{part} to come back")
    assert lab.switch.come_backs(part).times == before + 1
    wait_for(lambda: reaches_internet(lab, "node1"), "packets to pass")
    lab.node("node1").exec(["curl", "-sSf", "-m60", lab.facts["node_api_url"]])
    status = output(sys.executable, "-m", "neutron_cni_lab", "status", "--name", NAME)
    (line,) = [line for line in status if f" {part} " in line]
    assert "came back" in line


@pytest.mark.parametrize("part", ["ovs-vswitchd", "ovn-sb"])
def test_up_gives_a_daemon_whose_monitor_was_killed_another(lab: Lab, part: str) -> None:
    monitor = monitor_of(lab, part)
    os.kill(monitor, signal.SIGKILL)
    wait_for(lambda: not is_ours(monitor, lab.places.folder), "the monitor to be gone")
    assert lab.switch.pid(part) is not None
    lab.up()
    assert monitor_of(lab, part) != monitor
    assert reaches_internet(lab, "node1")


def test_up_plugs_in_the_internet_host_whose_cable_only_was_made(lab: Lab) -> None:
    """As an `up` leaves it that is killed between the two."""
    lab.switch.unplug("internet")
    lab.up()
    assert reaches_internet(lab, "node1")


def test_up_repairs_a_fabric_that_is_gone(lab: Lab) -> None:
    subprocess.run(["ip", "netns", "del", lab.switch.namespace], check=True)
    status = [sys.executable, "-m", "neutron_cni_lab", "status", "--name", NAME]
    assert subprocess.run(status, stdout=subprocess.DEVNULL).returncode == 1
    lab.up()
    assert reaches_internet(lab, "node1")
    lab.node("node1").exec(["curl", "-sSf", "-m60", lab.facts["node_api_url"]])
    subprocess.run(status, check=True)


def test_a_rebooted_node_keeps_var_lib_and_loses_run_and_pods(lab: Lab) -> None:
    node = lab.node("node2")
    node.exec(["sh", "-c", "touch /var/lib/kept /run/lost; ip netns add pod"])
    node.exec(
        ["ip", "link", "add", "lost0", "type", "veth", "peer", "name", "eth0", "netns", "pod"]
    )
    node = lab.reboot_node("node2")
    assert "kept" in node.exec(["ls", "/var/lib"]).stdout
    assert "lost" not in node.exec(["sh", "-c", "ls /run /sys/class/net; ip netns"]).stdout
    assert reaches_internet(lab, "node2")


def test_down_ends_commands_that_cleared_their_environment(
    host_before: dict[str, list[str]], lab: Lab
) -> None:
    sleep = ["env", "-i", "ip", "netns", "exec", "pod", "sleep", "12345.6"]
    lab.node("node1").exec(["ip", "netns", "add", "pod"])
    process = lab.node("node1").popen(sleep)
    line = Path(f"/proc/{process.pid}/cmdline")
    wait_for(lambda: line.read_text().startswith("sleep"), "the command to be at work")
    lab.down(keep_logs=True)
    lab.down()
    assert process.wait(timeout=120) != 0
    assert traces(lab) == NOTHING
    assert host() == host_before
    assert "gunicorn" in (lab.places.kept_logs / "neutron.log").read_text()
    shutil.rmtree(lab.places.kept_logs)


def test_down_ends_daemons_without_monitors_and_monitors_without_daemons() -> None:
    lab = Lab(NAME)
    try:
        lab.up()
        os.kill(monitor_of(lab, "ovs-vswitchd"), signal.SIGKILL)
        for part, number in (("ovn-northd", signal.SIGKILL), ("ovn-nb", signal.SIGABRT)):
            pid = lab.switch.pid(part)
            assert pid is not None
            os.kill(pid, number)
    finally:
        lab.down()
    assert traces(lab) == NOTHING


@pytest.mark.parametrize("seconds", [0.5, 0.9, 1.5, 3.0, 6.0])
def test_down_after_an_up_that_was_killed_leaves_nothing(seconds: float) -> None:
    lab = Lab(NAME)
    up = start("up")
    time.sleep(seconds)
    up.kill()
    up.wait()
    lab.down()
    assert traces(lab) == NOTHING


def test_up_and_down_after_a_down_that_was_killed(host_before: dict[str, list[str]]) -> None:
    lab = Lab(NAME)
    lab.up()
    for seconds in (0.5, 0.8):
        down = start("down")
        time.sleep(seconds)
        down.kill()
        down.wait()
        lab.up()
        assert reaches_internet(lab, "node1")
    lab.down()
    assert traces(lab) == NOTHING
    assert host() == host_before


def test_up_after_an_up_that_was_killed_completes_it() -> None:
    lab = Lab(NAME)
    try:
        up = start("up")
        time.sleep(3)
        up.kill()
        up.wait()
        lab.up()
        assert reaches_internet(lab, "node1")
    finally:
        lab.down()
