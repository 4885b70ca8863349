"""Users and passwords: who is let in, what is said to whom, and that a slow digest stalls nobody."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server.listening import authentication
from pytorch_offline.server.listening.authentication import Authenticator, OverwhelmedError, parse_basic
from tests.mirror.wheels import craft_wheel
from tests.server.listening.test_htpasswd import WRITTEN
from tests.server.processes import ServeProcess
from tests.server.serving import Heard, ask_raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RIGHT = ("alice", "correct horse")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(f"alice:{WRITTEN['apr1']}\nbob:{WRITTEN['sha1']}\n")
    return path


async def _admits(authenticator: Authenticator, *headers: str | None) -> list[str | None]:
    try:
        return [await authenticator.admits(header) for header in headers]
    finally:
        authenticator.close()


def test_who_is_in_the_file_with_this_password_is_let_in_and_nobody_else(users: Path) -> None:
    asked = {
        basic(*RIGHT): "alice",
        basic("bob", "correct horse"): "bob",
        basic("alice", "correct Horse"): None,
        basic("carol", "correct horse"): None,
        basic("", ""): None,
        basic("alice", WRITTEN["apr1"]): None,
        "Bearer abc": None,
        "Basic": None,
        "Basic ====": None,
        "basic " + base64.b64encode(b"alice:correct horse").decode(): "alice",
        "Basic " + "A" * 5000: None,
    }
    found = asyncio.run(_admits(Authenticator(users, print), *asked, *asked, None))  # the second time from memory
    assert found == [*asked.values(), *asked.values(), None]


@given(st.text(max_size=80))
def test_whatever_stands_in_the_header_is_read_or_refused(text: str) -> None:
    found = parse_basic(text)
    assert found is None or len(found) == 2


@given(st.text(max_size=20).filter(lambda user: ":" not in user), st.text(max_size=20))
def test_a_password_may_hold_anything(user: str, password: str) -> None:
    assert parse_basic(basic(user, password)) == (user, password)


def test_a_digest_is_made_once_for_all_who_wait_for_it(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    let_go = threading.Event()

    def slowly(password: str, _stored: str) -> bool:
        made.append(password)
        return let_go.wait(10)

    async def ask() -> list[str | None]:
        authenticator = Authenticator(users, print)
        asking = [asyncio.ensure_future(authenticator.admits(basic(*RIGHT))) for _ in range(50)]
        await asyncio.sleep(0)
        asking[0].cancel()  # who leaves does not take the answer along
        let_go.set()
        found = [await one for one in asking[1:]]
        authenticator.close()
        return found

    monkeypatch.setattr(authentication, "agrees", slowly)
    assert asyncio.run(ask()) == ["alice"] * 49
    assert made == ["correct horse"]


def test_guessers_are_told_to_come_again_before_they_fill_the_memory(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    async def ask() -> None:
        authenticator = Authenticator(users, print)
        guesses = [asyncio.ensure_future(authenticator.admits(basic("alice", str(n)))) for n in range(100)]
        await asyncio.sleep(0.01)
        refused = [guess for guess in guesses if guess.done() and isinstance(guess.exception(), OverwhelmedError)]
        assert len(refused) == 36
        let_go.set()
        await asyncio.gather(*guesses, return_exceptions=True)
        authenticator.close()

    monkeypatch.setattr(authentication, "agrees", lambda *_: not let_go.wait(10))
    asyncio.run(ask())


def test_outcomes_that_are_kept_are_bounded(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_KEPT_OUTCOMES", 5)
    authenticator = Authenticator(users, print)
    asyncio.run(_admits(authenticator, *(basic("bob", str(n)) for n in range(20))))
    assert len(authenticator._outcomes) == 5


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def test_a_changed_file_counts_at_once_and_a_broken_one_changes_nobody(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "_LOOK_SECONDS", 0.0)
    said: list[str] = []

    async def ask() -> None:
        authenticator = Authenticator(users, said.append)
        assert await authenticator.admits(basic(*RIGHT)) == "alice"
        _write(users, "alice:plain\n")
        assert await authenticator.admits(basic(*RIGHT)) == "alice"
        _write(users, f"\ufeffcarol:{WRITTEN['sha1']}\n# alice has left us\n")  # as editors on Windows write it
        assert await authenticator.admits(basic(*RIGHT)) is None
        assert await authenticator.admits(basic("carol", "correct horse")) == "carol"
        os.unlink(users)  # noqa: PTH108  (a test that has nothing else to do)
        assert await authenticator.admits(basic("carol", "correct horse")) == "carol"
        authenticator.close()

    asyncio.run(ask())
    assert [line.partition(":")[0] for line in said] == [
        "the users stay as they were",
        f"{users} was read again; users",
    ]


def test_a_file_that_cannot_be_read_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as caught:
        Authenticator(tmp_path / "nowhere", print)
    assert caught.value.code == "bad-htpasswd"
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        Authenticator(tmp_path / "bytes", print)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mirror")
    mirror = Mirror(root)
    craft_wheel("whl/numpy-1.26.4-cp311-cp311-linux_x86_64.whl").admit(mirror)
    mirror.publish()
    return root


@pytest.fixture(scope="module")
def guarded(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    place = tmp_path_factory.mktemp("guarded")
    (place / "users").write_text(f"alice:{WRITTEN['sha1']}\n")
    log = place / "access.log"
    with ServeProcess(root, "--host", "0.0.0.0", "--htpasswd", place / "users", "--access-log", log) as server:
        yield server
        assert server.stop() == 0
        written = log.read_text()
        assert "correct" not in written
        assert base64.b64encode(b"alice:correct horse").decode() not in written
        assert "- alice [" in written
        assert "correct" not in "".join(server.said)


def _ask(server: ServeProcess, target: str, *fields: str) -> Heard:
    lines = [f"GET {target} HTTP/1.1", "Host: mirror", "Connection: close", *fields, "", ""]
    return ask_raw(server.port, "\r\n".join(lines).encode())


def test_everything_wants_a_password_but_whether_all_is_well(guarded: ServeProcess) -> None:
    wheel = "/whl/numpy-1.26.4-cp311-cp311-linux_x86_64.whl"
    own = ("/", "/metrics", "/assets/x", "/%68ealth", "/health/", "//health")
    for target in ("/whl/", wheel, "/manifest.json", "/nowhere", *own):
        answer = _ask(guarded, target)
        assert answer.status == 401, target
        assert answer.headers["www-authenticate"] == 'Basic realm="pytorch-offline", charset="UTF-8"'
    open_to_all = _ask(guarded, "/health")
    assert open_to_all.body in {b"ok\n", b"not well\n"}
    for field in ("Range: bytes=0-1", "Range: bytes=99999-", "If-None-Match: *", 'If-Match: "x"'):
        asked_oddly = _ask(guarded, "/health", field)
        assert (asked_oddly.status, asked_oddly.body) == (open_to_all.status, open_to_all.body), field
    inside = _ask(guarded, "/health", f"Authorization: {basic(*RIGHT)}")
    assert inside.status == open_to_all.status
    assert len(inside.body) > 20
    assert _ask(guarded, wheel, f"Authorization: {basic(*RIGHT)}").status == 200
    assert _ask(guarded, wheel, f"Authorization: {basic('alice', 'wrong')}").status == 401


def test_who_was_taken_out_of_the_file_is_not_given_what_was_answered_before(root: Path, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:{WRITTEN['sha1']}\nbob:{WRITTEN['sha1']}\n")
    request = f"GET /whl/ HTTP/1.1\r\nHost: mirror\r\nAuthorization: {basic(*RIGHT)}\r\n\r\n".encode()
    with ServeProcess(root, "--htpasswd", users) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as kept:
            for _ in range(3):
                kept.sendall(request)
                assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
                time.sleep(0.05)
            users.write_text(f"bob:{WRITTEN['sha1']}\n")
            server.send(signal.SIGHUP)
            server.wait_said("was read again; users: 1")
            kept.sendall(request)
            assert kept.recv(65536).startswith(b"HTTP/1.1 401 ")
        assert server.stop() == 0


def test_passwords_in_plain_text_on_a_network_are_warned_of(guarded: ServeProcess) -> None:
    assert guarded.wait_said("warning: passwords travel in plain text")


@pytest.mark.slow
def test_a_slow_digest_stalls_nobody(root: Path, tmp_path: Path) -> None:
    users = tmp_path / "users"
    cost = "$2b$12$" + "a" * 22  # a quarter of a second for each
    users.write_text(f"alice:{WRITTEN['sha1']}\nslow:{cost}{'a' * 31}\n")
    os.utime(users)
    with ServeProcess(root, "--htpasswd", users) as server:
        guesses = [
            threading.Thread(target=_ask, args=(server, "/whl/", f"Authorization: {basic('slow', str(n))}"))
            for n in range(8)
        ]
        for guess in guesses:
            guess.start()
        begun = time.monotonic()
        for _ in range(20):
            assert _ask(server, "/health").body
        assert time.monotonic() - begun < 20
        for guess in guesses:
            guess.join()
