"""Nodes with a kernel of their own: commands, what a reboot keeps, crashes, traffic, no traces."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from neutron_cni_lab import Lab, LabError, Node
from neutron_cni_lab.demo import Pod
from neutron_cni_lab.namespaces import inode
from neutron_cni_lab.processes import all_of, running, wait_until

PATIENCE = 120
"""Seconds: how long anything may take. A VM needs several times what namespace nodes need."""

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def output(node: Node, *words: str) -> str:
    return node.exec(words, timeout=PATIENCE).stdout.strip()


def kill(node: Node) -> None:
    """End the VM's main process, and it alone: those that serve it stay behind."""
    pid = node.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: node.pid is None, "the end of the VM's main process", PATIENCE)


def test_exec_keeps_status_stdin_stdout_and_stderr(vm1: Node) -> None:
    script = "cat; echo bad >&2; exit 7"
    done = vm1.exec(["sh", "-c", script], input="a\nb", check=False, timeout=PATIENCE)
    assert (done.stdout, done.stderr, done.returncode) == ("a\nb", "bad\n", 7)


def test_exec_of_what_is_not_there_is_127(vm1: Node) -> None:
    done = vm1.exec(["no-such-program"], check=False, timeout=PATIENCE)
    assert done.returncode == 127
    assert "no-such-program: No such file or directory" in done.stderr


def test_a_command_that_dies_of_a_signal_is_seen_to(vm1: Node) -> None:
    done = vm1.exec(["sh", "-c", "kill -SEGV $$"], check=False, timeout=PATIENCE)
    assert done.returncode == -signal.SIGSEGV


def test_twenty_commands_at_once_each_have_their_own_data(vm1: Node) -> None:
    def one(number: int) -> None:
        data = os.urandom(10_000 * number).hex()
        script = f"cat; echo error {number} >&2; exit {number}"
        done = vm1.exec(["sh", "-c", script], input=data, check=False, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (number, f"error {number}\n")
        assert done.stdout == data

    with ThreadPoolExecutor(20) as pool:
        for job in [pool.submit(one, number) for number in range(20)]:
            job.result()


def test_signals_reach_the_command_also_while_its_stdin_is_full(vm1: Node) -> None:
    script = "trap 'echo heard; exit 9' USR1; echo ready; while :; do sleep 0.1; done"
    pipe = subprocess.PIPE
    with vm1.popen(["sh", "-c", script], stdin=pipe, stdout=pipe) as command:
        assert command.stdin
        assert command.stdout
        assert command.stdout.readline() == b"ready\n"
        os.set_blocking(command.stdin.fileno(), False)
        with pytest.raises(BlockingIOError):
            fill(command.stdin.fileno())
        command.send_signal(signal.SIGUSR1)
        assert command.stdout.read() == b"heard\n"
        assert command.wait(PATIENCE) == 9
        os.set_blocking(command.stdin.fileno(), True)


def fill(pipe: int) -> None:
    """Write until nobody has taken anything for a while."""
    while select.select([], [pipe], [], 2)[1]:
        os.write(pipe, bytes(4096))
    os.write(pipe, bytes(4096))


def test_a_command_that_is_killed_on_the_host_is_killed_in_the_vm(vm1: Node) -> None:
    with vm1.popen(["sh", "-c", "echo $$; exec sleep 1000"], stdout=subprocess.PIPE) as command:
        assert command.stdout
        pid = command.stdout.readline().decode().strip()
        command.kill()
    script = f"while kill -0 {pid}; do sleep 0.1; done"
    vm1.exec(["sh", "-c", script], timeout=PATIENCE)


def test_who_waits_for_a_command_does_not_wait_for_what_it_left_running(vm1: Node) -> None:
    script = "(read line </run/go; echo late) & echo early"
    vm1.exec(["mkfifo", "/run/go"], timeout=PATIENCE)
    with vm1.popen(["sh", "-c", script], stdout=subprocess.PIPE) as command:
        assert command.wait(PATIENCE) == 0
        vm1.exec(["sh", "-c", "echo >/run/go; rm /run/go"], timeout=PATIENCE)
        assert command.stdout
        assert command.stdout.read() == b"early\nlate\n"


def test_its_kernel_is_its_own_and_loads_modules(vm1: Node) -> None:
    assert output(vm1, "uname", "-r") != os.uname().release
    assert output(vm1, "hostname") == vm1.name
    assert output(vm1, "ls", "/sys/class/net").split() == ["eth0", "lo"]
    vm1.exec(["modprobe", "-a", "dummy", "ipvlan"], timeout=PATIENCE)
    assert {"dummy", "ipvlan"} <= set(output(vm1, "ls", "/sys/module").split())
    vm1.exec(["modprobe", "-r", "dummy", "ipvlan"], timeout=PATIENCE)


def test_a_reboot_keeps_var_lib_and_etc_and_loses_the_rest(lab: Lab, vm1: Node) -> None:
    before = output(vm1, "cat", BOOT_ID)
    made = "touch /var/lib/kept /etc/cni/net.d/kept /run/lost; ip netns add pod"
    vm1.exec(["sh", "-c", made], timeout=PATIENCE)
    lab.reboot_node(vm1.name)
    assert output(vm1, "cat", BOOT_ID) != before
    vm1.exec(["ls", "/var/lib/kept", "/etc/cni/net.d/kept"], timeout=PATIENCE)
    assert output(vm1, "sh", "-c", "ls /run/netns; ls /run | grep lost || true") == ""
    assert (
        output(vm1, "ip", "-4", "-o", "address", "show", "eth0").split()[3]
        in (vm1.facts["addresses"])
    )


def test_a_vm_that_is_killed_is_reported_at_once_and_repaired(lab: Lab, vm1: Node) -> None:
    vm1.exec(["sh", "-c", "echo safe >/var/lib/saved; sync"], timeout=PATIENCE)
    with vm1.popen(["sleep", "1000"], stderr=subprocess.PIPE) as command:
        vm1.exec(["true"], timeout=PATIENCE)
        kill(vm1)
        assert command.stderr
        assert f"node {vm1.name} is gone: its virtual machine ended" in (
            command.stderr.read().decode()
        )
        assert command.wait() == 255
    with pytest.raises(LabError, match=f"node {vm1.name} is down") as caught:
        vm1.exec(["true"])
    assert "lab up" in caught.value.hint
    lab.up(nodes=(vm1.name,))
    assert output(vm1, "cat", "/var/lib/saved") == "safe"


def test_with_noreboot_a_vm_that_reboots_stays_down(lab: Lab, vm1: Node) -> None:
    lab.reboot_node(vm1.name, noreboot=True)
    done = vm1.exec(["sh", "-c", "echo b >/proc/sysrq-trigger; sleep 1000"], check=False)
    assert (done.returncode, vm1.pid) == (255, None)
    lab.start_node(vm1.name)
    assert output(vm1, "hostname") == vm1.name


def test_a_vm_reboots_by_itself_and_has_its_network_again(vm1: Node) -> None:
    before, pid = output(vm1, "cat", BOOT_ID), vm1.pid
    vm1.exec(["sh", "-c", "sync; echo b >/proc/sysrq-trigger; sleep 1000"], check=False)
    assert output(vm1, "cat", BOOT_ID) != before
    assert vm1.pid == pid
    vm1.exec(["ping", "-c1", "-w60", "10.10.0.1"], timeout=PATIENCE)


SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7), timeout=100) as peer:
    peer.sendall(bytes(range(256)) * 4096)
    peer.shutdown(socket.SHUT_WR)
    print(len(b"".join(iter(lambda: peer.recv(65536), b""))))
"""
ECHO = """
import socket
with socket.create_server(("", 7)) as server:
    print(flush=True)
    peer = server.accept()[0]
    data = b"".join(iter(lambda: peer.recv(65536), b""))
    peer.sendall(data if data == bytes(range(256)) * 4096 else b"")
    peer.close()
"""


@pytest.mark.parametrize("other", ["uml2", "node1", "internet"])
def test_tcp_passes_to_other_nodes_and_out(
    lab: Lab, vms: list[Node], vm1: Node, other: str
) -> None:
    server = lab.node(other)
    address = lab.facts["far_address"] if other == "internet" else server.address
    with server.popen(["python3", "-I", "-c", ECHO], stdout=subprocess.PIPE) as echo:
        try:
            assert echo.stdout
            assert echo.stdout.readline()
            assert output(vm1, "python3", "-I", "-c", SEND, address) == str(256 * 4096)
        finally:
            echo.kill()


def test_packets_of_the_networks_mtu_pass_and_larger_ones_do_not(vm1: Node) -> None:
    ping = ["ping", "-M", "do", "-c1", "-w60", "10.10.0.1"]
    largest = vm1.facts["mtu"] - 28
    vm1.exec([*ping, "-s", str(largest)], timeout=PATIENCE)
    larger = vm1.exec([*ping, "-w1", "-s", str(largest + 1)], check=False, timeout=PATIENCE)
    assert larger.returncode != 0


def test_a_pod_behind_a_real_dummy0_is_reached_from_another_node(lab: Lab, vm1: Node) -> None:
    pod = Pod(vm1, "pod1")
    # This kernel forwards IPv6 for whole nodes only, and the pod has an IPv6 address.
    vm1.exec(["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"], timeout=PATIENCE)
    try:
        pod.add()
        link = json.loads(output(vm1, "ip", "-j", "address", "show", "dev", "dummy0"))[0]
        assert "169.254.1.1" in [item["local"] for item in link["addr_info"]]
        lab.node("node1").exec(["ping", "-c1", "-w60", pod.address], timeout=PATIENCE)
        pod.exec(["ping", "-c1", "-w60", lab.facts["far_address"]], timeout=PATIENCE)
        pod.check()
    finally:
        pod.delete()


LOCKS = """
import fcntl, multiprocessing, sqlite3
PATH = "/var/lib/counter"
def count():
    for _ in range(20):
        database = sqlite3.connect(PATH + ".db", timeout=100)
        with open(PATH + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with database:
                (number,) = database.execute("SELECT number FROM counter").fetchone()
                database.execute("UPDATE counter SET number = ?", (number + 1,))
        database.close()
database = sqlite3.connect(PATH + ".db")
(mode,) = database.execute("PRAGMA journal_mode=WAL").fetchone()
with database:
    database.execute("CREATE TABLE counter (number)")
    database.execute("INSERT INTO counter VALUES (0)")
workers = [multiprocessing.Process(target=count) for _ in range(4)]
for worker in workers: worker.start()
for worker in workers: worker.join()
print(mode, *database.execute("SELECT number FROM counter").fetchone())
"""


def test_locks_and_sqlite_wal_work_in_var_lib(vm1: Node) -> None:
    vm1.exec(["sh", "-c", "rm -f /var/lib/counter*"], timeout=PATIENCE)
    assert output(vm1, "python3", "-I", "-c", LOCKS) == "wal 80"


def processes(lab: Lab, name: str) -> set[int]:
    """Those of the VM `name`: in its namespace, or serving its kernel."""
    number = inode(lab.places.namespace(name))
    folder = lab.places.node(name)
    found = all_of(lab.places.folder, [] if number is None else [number], within=folder)
    return found | running(lab.places.folder, f"uml_dir={folder}")


def test_removing_a_vm_that_was_killed_leaves_nothing(lab: Lab) -> None:
    name = "umlgone"
    lab.remove_node(name)
    node = lab.add_node(name, kernel="own")
    try:
        port, folder = node.port_id, lab.places.node(name)
        assert processes(lab, name)
        kill(node)
    finally:
        lab.remove_node(name)
    assert processes(lab, name) == set()
    assert inode(node.namespace) is None
    assert not folder.exists()
    assert lab.connection().network.find_port(port, ignore_missing=True) is None
