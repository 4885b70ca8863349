"""A server's life as an administrator sees it: the real command, its signals, its exit codes, what it says."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server.listening import door
from pytorch_offline.server.listening.door import addresses, bind, is_loopback, own_addresses, urls_for_clients
from pytorch_offline.server.monitoring.access_log import plain_address
from tests.e2e.tool import run_json
from tests.mirror.loopback import sized_wheel
from tests.server.processes import ServeProcess
from tests.server.serving import ask_raw

if TYPE_CHECKING:
    from pathlib import Path

WHEEL = "/whl/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"
SIZE = 20_000_000
REQUEST = f"GET {WHEEL} HTTP/1.1\r\nHost: mirror\r\n\r\n".encode()
PAGE = b"GET /whl/ HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mirror")
    mirror = Mirror(root)
    sized_wheel(WHEEL[1:].replace("%2B", "+"), SIZE).admit(mirror)
    mirror.publish()
    return root


def _begin(server: ServeProcess) -> socket.socket:
    """Begin a transfer that lasts until it is read."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(REQUEST)
    connection.recv(1)
    return connection


def _rest(connection: socket.socket) -> int:
    count = 0
    with connection:
        try:
            while piece := connection.recv(1_000_000):
                count += len(piece)
        except ConnectionResetError:
            pass
    return count


def test_told_to_end_it_lets_a_transfer_finish_and_takes_in_nobody_more(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with ServeProcess(root, "--access-log", log) as server:
        assert ask_raw(server.port, PAGE).status == 200
        idle = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        transfer = _begin(server)
        server.send(signal.SIGTERM)
        server.wait_said("waiting for one transfer")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=20)
        with idle:
            assert idle.recv(1) == b""
        assert _rest(transfer) > SIZE
        assert server.wait() == 0
        assert not any("broken off" in line for line in server.said)
    lines = log.read_text().splitlines()
    assert ['"GET /whl/ HTTP/1.1" 200', f'"GET {WHEEL} HTTP/1.1" 200'] == [
        line.partition("] ")[2].rpartition(" 200 ")[0] + " 200" for line in lines
    ]


def test_when_grace_is_over_transfers_are_broken_off(root: Path) -> None:
    with ServeProcess(root, "--grace", "0.3") as server:
        transfer = _begin(server)
        assert server.stop() == 0
        assert _rest(transfer) < SIZE
        assert "transfers broken off: 1" in server.said


def test_asked_twice_it_ends_at_once_and_ctrl_c_has_its_own_code(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with ServeProcess(root, "--grace", "600", "--access-log", log, "--access-log-format", "json") as server:
        transfer = _begin(server)
        server.send(signal.SIGINT)
        server.wait_said("waiting for one transfer")
        begun = time.monotonic()
        server.send(signal.SIGINT)
        assert server.wait() == 130
        assert time.monotonic() - begun < 15
        assert _rest(transfer) < SIZE
        assert not any("Traceback" in line for line in server.said)
    assert '"status": 200' in log.read_text()


def test_hung_up_it_reads_again_and_goes_on_in_a_new_log(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with ServeProcess(root, "--access-log", log, launcher=["setsid"]) as server:
        for number, moved in ((signal.SIGHUP, "1"), (signal.SIGUSR1, "2")):
            assert ask_raw(server.port, PAGE).status == 200
            log.rename(tmp_path / f"access.log.{moved}")
            server.send(number)
            until = time.monotonic() + 20
            while not log.exists() and time.monotonic() < until:
                time.sleep(0.02)
        assert ask_raw(server.port, PAGE).status == 200
        assert server.stop() == 0
    for name in ("access.log.1", "access.log.2", "access.log"):
        assert len((tmp_path / name).read_text().splitlines()) == 1


def test_a_service_manager_is_told_when_it_is_ready_and_when_it_stops(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    told: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        with ServeProcess(root, environment={"NOTIFY_SOCKET": str(path)}, launcher=["setsid"]) as server:
            told.append(manager.recv(1000))
            server.send(signal.SIGHUP)
            told += [manager.recv(1000), manager.recv(1000)]
            assert server.stop() == 0
            told.append(manager.recv(1000))
    assert [one.split(b"\n")[0] for one in told] == [b"READY=1", b"RELOADING=1", b"READY=1", b"STOPPING=1"]
    assert told[1].startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_a_port_that_is_taken_is_said_in_a_sentence(root: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        error = run_json("serve", "--mirror", root, "--port", port, cwd=tmp_path, expect=2)["error"]
    assert error["code"] == "cannot-listen"
    assert error["message"] == f"port {port} of 127.0.0.1 is taken"


@pytest.mark.parametrize(
    ("host", "words"), [("192.0.2.99", "is no address of this machine"), ("no.such.host.invalid", "is no address")]
)
def test_an_address_that_is_not_ours_is_said_in_a_sentence(host: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        bind(host, 0)
    assert caught.value.code == "cannot-listen"


def test_a_client_by_ipv4_has_an_ipv4_address() -> None:
    assert [plain_address(one) for one in ("::ffff:192.0.2.7", "192.0.2.7", "2001:db8::7", "-")] == [
        "192.0.2.7",
        "192.0.2.7",
        "2001:db8::7",
        "-",
    ]


def test_every_address_of_a_host_is_listened_on_with_one_port() -> None:
    for host in ("0.0.0.0", "::", "localhost"):
        try:
            listeners = bind(host, 0)
        except UsageError:
            pytest.skip(f"this machine has no {host}")
        try:
            assert len({port for _, port in addresses(listeners)}) == 1
            with socket.create_connection(("127.0.0.1", addresses(listeners)[0][1]), timeout=10):
                pass  # by IPv4, too
        finally:
            for one in listeners:
                one.close()


def test_clients_are_told_addresses_that_they_can_use() -> None:
    own = ("192.0.2.7", "2001:db8::7")
    assert urls_for_clients([("0.0.0.0", 80)], own, tls=False) == ("http://192.0.2.7:80",)
    assert urls_for_clients([("::", 443)], own, tls=True) == ("https://192.0.2.7:443", "https://[2001:db8::7]:443")
    assert urls_for_clients([("::1", 80), ("127.0.0.1", 80)], own, tls=False) == (
        "http://[::1]:80",
        "http://127.0.0.1:80",
    )
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")


def test_a_sandbox_that_lets_nobody_ask_for_interfaces_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object) -> NoReturn:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "if_nameindex", refused)
    monkeypatch.setattr(door, "_FAR_AWAY", ())
    assert own_addresses() == ("127.0.0.1",)


def test_it_takes_as_many_files_as_the_system_lets_it_have(root: Path) -> None:
    with ServeProcess(root, "--connections", "5000", open_files=(64, 400)) as server:
        assert server.wait_said("no more than 136 connections fit into this process's limit of 400 open files")
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(500)]
        try:
            assert ask_raw(server.port, PAGE).status == 200
            assert server.open_files() < 400
        finally:
            for one in held:
                one.close()
        assert server.stop() == 0
        assert not any("Traceback" in line for line in server.said)


def test_a_terminal_that_goes_away_ends_it(root: Path) -> None:
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        command = [sys.executable, "-m", "pytorch_offline", "serve", "--mirror", str(root), "--port", "0"]
        os.execv(sys.executable, command)  # noqa: S606  (the tool itself)
    said = b""
    while b"listening on" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    ended: list[int] = []
    waiting = threading.Thread(target=lambda: ended.append(os.waitpid(child, 0)[1]))
    waiting.start()
    waiting.join(20)
    if not ended:
        os.kill(child, signal.SIGKILL)
        waiting.join()
    assert os.waitstatus_to_exitcode(ended[0]) == 0


def test_a_file_system_that_is_only_read_is_enough(root: Path, tmp_path: Path) -> None:
    view = tmp_path / "view"
    view.mkdir()
    script = f'mount --bind "{root}" "{view}" && mount -o remount,ro,bind "{view}" && exec "$0" "$@"'
    launcher = ["unshare", "--mount", "sh", "-c", script]
    if subprocess.run([*launcher, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this process may make no mount namespace")
    with ServeProcess(view, launcher=launcher) as server:
        assert ask_raw(server.port, PAGE).status == 200
        assert ask_raw(server.port, REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).status == 200


def test_a_mirror_that_goes_away_is_an_answer_and_not_a_fault(tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    mirror = Mirror(root)
    sized_wheel(WHEEL[1:].replace("%2B", "+"), 200_000).admit(mirror)
    mirror.publish()
    with ServeProcess(root) as server:
        closing = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert ask_raw(server.port, closing).status == 200
        root.rename(tmp_path / "elsewhere")
        seen = {ask_raw(server.port, closing).status for _ in range(5)}
        assert seen <= {404, 503}
        (tmp_path / "elsewhere").rename(root)
        until = time.monotonic() + 20
        while ask_raw(server.port, closing).status != 200 and time.monotonic() < until:
            time.sleep(0.1)
        assert ask_raw(server.port, closing).status == 200
        assert server.stop() == 0
        assert not any("Traceback" in line for line in server.said)


def test_a_thread_that_waits_for_a_dead_disk_does_not_keep_the_process() -> None:
    script = """
import asyncio, signal, sys, threading, time
from pytorch_offline.server import running
from pytorch_offline.server.listening.limits import Limits
from pytorch_offline.server.listening.door import bind
running._THREADS_SECONDS = 0.5
async def main():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 1000)
    service = running.Service(handler=None, listeners=bind("127.0.0.1", 0), limits=Limits(), grace=1, say=print)
    return await running.serve_until_told(service, lambda: signal.raise_signal(signal.SIGTERM))
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
