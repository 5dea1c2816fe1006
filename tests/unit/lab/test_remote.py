"""Commands in a VM: both ends of the connection, here on one host."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from neutron_cni_lab.uml.vm import REMOTE

PATIENCE = 60
PIPE = subprocess.PIPE

AGENT = """
import socket, sys
sys.path.insert(0, sys.argv[1])
import commands
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
commands.accept(server)
"""

CALLER = """
import os, socket, sys
_, folder, port, pid, *words = sys.argv
sys.path.insert(0, folder)
import caller, frames
connection = frames.Connection(socket.create_connection(("127.0.0.1", int(port))))
try:
    caller.end(caller.Caller(connection, os.pidfd_open(int(pid))).run(words))
except frames.Gone:
    os._exit(255)
"""


def python(script: str, *words: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", script, str(REMOTE), *words]


class Agent:
    """What runs in the VM, as a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(python(AGENT), stdout=PIPE, text=True)
        assert self.process.stdout
        self._port = self.process.stdout.readline().strip()

    def command(self, *words: str) -> list[str]:
        return python(CALLER, self._port, str(self.process.pid), *words)

    def run(self, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*words), input=data, capture_output=True, timeout=PATIENCE, check=False
        )

    def popen(self, *words: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(*words), stdin=stdin, stdout=PIPE, stderr=PIPE)


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    agent = Agent()
    with agent.process:
        yield agent
        agent.process.kill()


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_the_status_is_the_commands(agent: Agent, status: int) -> None:
    assert agent.run("sh", "-c", f"exit {status}").returncode == status


def test_a_signal_that_ends_the_command_ends_its_stand_in(agent: Agent) -> None:
    assert agent.run("sh", "-c", "kill -KILL $$").returncode == -signal.SIGKILL


def test_what_cant_be_run_is_said_as_a_shell_does(agent: Agent) -> None:
    missing = agent.run("no-such-program")
    assert (missing.returncode, missing.stderr.count(b"No such file")) == (127, 1)
    assert agent.run("/etc/passwd").returncode == 126


@pytest.mark.parametrize("size", [0, 1, 65536, 131072, 131073, 5_000_000])
def test_stdin_comes_back_whole(agent: Agent, size: int) -> None:
    data = os.urandom(size)
    done = agent.run("sh", "-c", "cat; echo end >&2", data=data)
    assert (done.stdout == data, done.stderr, done.returncode) == (True, b"end\n", 0)


def test_many_at_once_have_their_own_streams_and_status(agent: Agent) -> None:
    def one(number: int) -> None:
        data = os.urandom(number * 20_000)
        done = agent.run("sh", "-c", f"cat; echo {number} >&2; exit {number}", data=data)
        assert (done.returncode, done.stderr) == (number, b"%d\n" % number)
        assert done.stdout == data

    with ThreadPoolExecutor(10) as pool:
        for job in [pool.submit(one, number) for number in range(30)]:
            job.result()


def test_arguments_and_environment_are_bytes_and_stay_so(agent: Agent) -> None:
    odd = b"\xff \n'\xc3\xa4"
    command = [*map(os.fsencode, agent.command("printenv", "ODD"))]
    environ = {**os.environb, b"ODD": odd}
    done = subprocess.run(command, env=environ, capture_output=True, check=True, timeout=PATIENCE)
    assert done.stdout == odd + b"\n"
    command = [*map(os.fsencode, agent.command("printf", "%s")), odd]
    done = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE)
    assert done.stdout == odd


def test_a_signal_arrives_though_nobody_reads_stdin(agent: Agent) -> None:
    with agent.popen("sh", "-c", "echo; exec sleep 1000", stdin=PIPE) as command:
        assert command.stdin
        assert command.stdout
        assert command.stdout.readline()
        pipe = command.stdin.fileno()
        while select.select([], [pipe], [], 1)[1]:
            os.write(pipe, bytes(4096))
        command.terminate()
        assert command.wait(PATIENCE) == -signal.SIGTERM


def test_a_signal_arrives_though_nobody_reads_stdout(agent: Agent) -> None:
    script = "trap 'exit 9' TERM; yes & wait"
    with agent.popen("sh", "-c", script) as command:
        assert command.stdout
        assert command.stdout.read(2_000_000)
        command.terminate()
        assert command.wait(PATIENCE) == 9
        assert command.stdout.read(2_000_000)
        command.stdout.close()  # which ends `yes`


def test_what_a_command_wrote_is_read_after_its_end(agent: Agent) -> None:
    with agent.popen("head", "-c", "100000", "/dev/zero") as command:
        assert command.wait(PATIENCE) == 0
        assert command.stdout
        assert len(command.stdout.read()) == 100_000


def test_an_interrupt_is_for_all_that_the_command_has_started(agent: Agent) -> None:
    script = "trap 'exit 5' INT; (trap - INT; echo; exec sleep 1000); exit 6"
    with agent.popen("sh", "-c", script) as command:
        assert command.stdout
        assert command.stdout.readline()
        command.send_signal(signal.SIGINT)
        assert command.wait(PATIENCE) == 5


def test_a_reader_that_goes_away_ends_the_writer(agent: Agent) -> None:
    with agent.popen("yes") as command:
        assert command.stdout
        assert command.stdout.readline() == b"y\n"
        command.stdout.close()
        assert command.wait(PATIENCE) == -signal.SIGPIPE


def test_a_command_that_reads_no_more_ends_its_writer(agent: Agent) -> None:
    with agent.popen("sh", "-c", "exec <&-; echo; exec sleep 1000", stdin=PIPE) as command:
        assert command.stdin
        with pytest.raises(BrokenPipeError):
            write_for_ever(command.stdin.fileno())
        command.kill()


def write_for_ever(pipe: int) -> None:
    while True:
        os.write(pipe, bytes(65536))


def test_what_the_command_leaves_running_keeps_its_output_and_not_its_caller(agent: Agent) -> None:
    with agent.popen("sh", "-c", "(sleep 1; echo late) & echo early") as command:
        assert command.wait(PATIENCE) == 0
        assert command.stdout
        assert command.stdout.read() == b"early\nlate\n"


def test_a_killed_stand_in_takes_the_command_along(agent: Agent) -> None:
    with agent.popen("sh", "-c", "echo $$; exec sleep 1000") as command:
        assert command.stdout
        gone = os.pidfd_open(int(command.stdout.readline()))
        command.kill()
    assert select.select([gone], [], [], PATIENCE)[0]
    os.close(gone)


def test_the_end_of_the_other_side_is_seen_at_once() -> None:
    agent = Agent()
    with agent.process, agent.popen("sh", "-c", "echo; exec sleep 2") as command:
        assert command.stdout
        assert command.stdout.readline()
        agent.process.kill()
        assert command.wait(PATIENCE) == 255
