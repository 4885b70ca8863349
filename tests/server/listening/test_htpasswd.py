"""htpasswd files as people have them: digests of other programs agree, and what is unsafe is refused with a reason."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.server.listening.htpasswd import agrees, parse_htpasswd, refusal

# Each was written by another program for the password "correct horse": htpasswd 2.4 (-B, -m, -s, -2, -5),
# openssl passwd 3.0 (-apr1, -5, -6).
WRITTEN = {
    "bcrypt": "$2y$04$nQz/yoG7Ljev6sRbKPUc7OoTE.h4TcTyqZL7T.IsWq9BMr0CynD62",
    "apr1": "$apr1$tPWqD6VO$9Bow.QBW0iN5A8q5TVPOm/",
    "sha1": "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=",
    "sha256": "$5$rounds=1000$DzGWK71D6RvxSMqT$WE7FqKQamd5SPv.teuJyyBdFY0WL3mbWgQJJdXDG3ZD",
    "sha512": "$6$rounds=1000$3bV0qovYtII2/.LP$CsL6OEUJCEA4aw4OPvTNz3spZoHoaEfeznsCD4vjouX7K./av3uxjWcEEMqOfc0ZwDuCrFxCM9pWgqCp38u5D.",  # noqa: E501  (one word)
    "openssl apr1": "$apr1$dGo6vwLd$X41HWbA155BBXGHKpvqCD/",
    "openssl sha256": "$5$gFOdB9O0tWiGEXgL$dAFrFDAB3C7Ofcpdf59uTWaIWDuRJH5fmUYOUarGz6C",
    "openssl sha512": "$6$2LQto73HVdUZxI.o$1nI6SQgI.fBIPuj0Ve7LtF0cXmOY6qiWNC0x9.OwQ0MY6Ok9v.eaaUTA.VJDr.DQocPSOCa87vT7Rl42i1IQo0",  # noqa: E501  (one word)
    "salted sha1": "{SSHA}LhKrkM9Fy+zlstjdD7Kv2s6QvhBzYWx0",
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_digest_that_another_program_wrote_agrees_with_its_password_alone(form: str) -> None:
    stored = WRITTEN[form]
    reason = refusal(stored)
    if reason is not None and "cannot compute" in reason:
        pytest.skip(reason)  # crypt(3) of this system
    assert reason is None
    assert agrees("correct horse", stored)
    for wrong in ("correct horsE", "", "correct horse ", "correct", "correct horse\0"):
        assert not agrees(wrong, stored)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("password", ["a", "0123456789abcdef", "pässwörd", "x" * 200])
def test_apaches_md5_agrees_with_openssls_for_passwords_of_every_length(password: str) -> None:
    written = subprocess.run(
        ["openssl", "passwd", "-apr1", "-salt", "ab", "-stdin"],
        input=password,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert agrees(password, written.stdout.strip())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("alice", "no colon"),
        (":" + WRITTEN["sha1"], "names no user"),
        ("alice:", "no password"),
        ("alice:secret", "plain text"),
        ("alice:XcjNGCZ2xVMFY", "DES"),
        ("alice:{PLAIN}secret", "plain text"),
        ("alice:$2y$31$" + "a" * 53, "longer than a request may wait"),
        ("alice:$6$rounds=999999999$salt$" + "a" * 86, "longer than a request may wait"),
        ("alice:$2y$10$short", "no digest of a known form"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_without_what_it_stores(line: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_htpasswd(f"# users\n\nbob:{WRITTEN['sha1']}\n{line}\n", "users")
    assert caught.value.code == "bad-htpasswd"
    assert caught.value.facts["line"] == 4
    told = f"{caught.value.message} {caught.value.facts} {caught.value.hint}"
    assert "secret" not in told
    assert "XcjNGCZ2xVMFY" not in told


def test_the_first_line_of_a_user_counts_and_what_follows_another_colon_is_a_remark() -> None:
    book = parse_htpasswd(f"alice:{WRITTEN['sha1']}:a remark\r\nalice:{WRITTEN['apr1']}\n", "users")
    assert book == {"alice": WRITTEN["sha1"]}


def test_a_file_without_users_is_refused() -> None:
    with pytest.raises(UsageError, match="nobody could read"):
        parse_htpasswd("# nobody yet\n", "users")
