"""The same networks for pip and for us: each case runs both through the same real servers, and says who got there.

``python -m tests.net.against_pip`` runs all of them and prints a table; ``test_against_pip.py`` runs a few.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.loopback import Answer, Loopback, Request
from tests.mirror.wheels import craft_wheel
from tests.net.authority import Authority
from tests.net.proxy import LoopbackProxy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

# The proxies know every name; nobody else knows this one (RFC 2606).
NAME = "wheels.example"
_SPARED = ("PATH", "HOME", "LANG", "SYSTEMROOT", "VIRTUAL_ENV", "PYTHONPATH")
_ASK = """
import sys
from pytorch_offline.crawler.default_index import Reach, configured_http
from pytorch_offline.errors import UpstreamError
with configured_http(reach=Reach(retries=0)) as http:
    try:
        response = http.get(sys.argv[1])
    except UpstreamError as error:
        sys.exit(f"{error.code}: {error.message}")
    sys.exit(0 if response.status == 200 else f"status {response.status}")
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to reach an index; in ``variables`` and ``pip_conf`` braces name what ``Place`` has."""

    name: str
    tls: bool = False
    named: bool = False  # the index is reached by a name that only the proxies know
    proxied: bool = False
    proxy_wants: str | None = None
    index_wants: str | None = None
    userinfo: str = ""
    of_clients: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    pip_conf: str = ""
    netrc: str = ""
    pip: bool = True  # whether pip gets there
    ours: bool = True  # whether we do


PROXIED = {"https_proxy": "{proxy}", "http_proxy": "{proxy}"}
TRUSTED = {"PIP_CERT": "{root}"}
CASES = (
    Case(name="straight"),
    Case(name="HTTP_PROXY", named=True, proxied=True, variables={"HTTP_PROXY": "{proxy}", "PIP_TRUSTED_HOST": NAME}),
    Case(name="https_proxy", tls=True, named=True, proxied=True, variables=PROXIED | TRUSTED),
    Case(name="HTTPS_PROXY", tls=True, named=True, proxied=True, variables={"HTTPS_PROXY": "{proxy}"} | TRUSTED),
    Case(name="ALL_PROXY", tls=True, named=True, proxied=True, variables={"ALL_PROXY": "{proxy}"} | TRUSTED),
    Case(name="all_proxy without a scheme", tls=True, named=True, proxied=True,
         variables={"all_proxy": "127.0.0.1:{proxy_port}"} | TRUSTED),
    Case(name="PIP_PROXY", tls=True, named=True, proxied=True, variables={"PIP_PROXY": "{proxy}"} | TRUSTED),
    Case(name="pip.conf proxy", tls=True, named=True, proxied=True,
         variables=TRUSTED,
         pip_conf="[global]\nproxy={proxy}\n"),
    Case(name="pip.conf [install] over [global]", tls=True, named=True, proxied=True,
         variables=TRUSTED,
         pip_conf="[global]\nproxy=http://127.0.0.1:1\n[install]\nproxy={proxy}\n"),
    Case(name="PIP_PROXY over pip.conf over HTTPS_PROXY", tls=True, named=True, proxied=True,
         variables={"PIP_PROXY": "{proxy}", "HTTPS_PROXY": "http://127.0.0.1:1"} | TRUSTED,
         pip_conf="[install]\nproxy=http://127.0.0.1:1\n"),
    Case(name="proxy with password", tls=True, named=True, proxied=True,
         proxy_wants="me:p@ss",
         variables={"https_proxy": "http://me:p%40ss@127.0.0.1:{proxy_port}"} | TRUSTED),
    Case(name="proxy with wrong password", tls=True, named=True, proxied=True,
         proxy_wants="me:p@ss",
         variables={"https_proxy": "http://me:no@127.0.0.1:{proxy_port}"} | TRUSTED, pip=False, ours=False),
    Case(name="NO_PROXY with HTTP_PROXY", variables={"http_proxy": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.0/8"}),
    Case(name="NO_PROXY with pip's proxy",
         variables={"PIP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}, pip=False),
    Case(name="pip's no-proxy-env", variables={"http_proxy": "http://127.0.0.1:1", "PIP_NO_PROXY_ENV": "1"}),
    Case(name="unknown CA", tls=True, pip=False, ours=False),
    Case(name="PIP_CERT", tls=True, variables=TRUSTED),
    Case(name="pip.conf cert", tls=True, pip_conf="[global]\ncert={root}\n"),
    Case(name="REQUESTS_CA_BUNDLE", tls=True, variables={"REQUESTS_CA_BUNDLE": "{root}"}),
    Case(name="CURL_CA_BUNDLE", tls=True, variables={"CURL_CA_BUNDLE": "{root}"}),
    Case(name="SSL_CERT_FILE (the system's store)", tls=True, variables={"SSL_CERT_FILE": "{root}"}),
    Case(name="SSL_CERT_FILE beside another cert", tls=True,
         variables={"SSL_CERT_FILE": "{root}", "PIP_CERT": "{other}"}),
    Case(name="cert and another REQUESTS_CA_BUNDLE", tls=True,
         variables={"PIP_CERT": "{root}", "REQUESTS_CA_BUNDLE": "{other}"}, pip=False),
    Case(name="REQUESTS_CA_BUNDLE and another cert", tls=True,
         variables={"PIP_CERT": "{other}", "REQUESTS_CA_BUNDLE": "{root}"}),
    Case(name="REQUESTS_CA_BUNDLE that is not there", tls=True,
         variables={"REQUESTS_CA_BUNDLE": "/nonexistent.pem"}, pip=False, ours=False),
    Case(name="trusted-host", tls=True, variables={"PIP_TRUSTED_HOST": "127.0.0.1"}),
    Case(name="trusted-host with port", tls=True, variables={"PIP_TRUSTED_HOST": "other.example 127.0.0.1:{port}"}),
    Case(name="trusted-host with another port", tls=True,
         variables={"PIP_TRUSTED_HOST": "127.0.0.1:1"}, pip=False, ours=False),
    Case(name="trusted-host through a proxy", tls=True, named=True, proxied=True,
         variables=PROXIED | {"PIP_TRUSTED_HOST": NAME}),
    Case(name="client-cert", tls=True, of_clients=True, variables=TRUSTED | {"PIP_CLIENT_CERT": "{client}"}),
    Case(name="client-cert that is missing", tls=True, of_clients=True, variables=TRUSTED, pip=False, ours=False),
    Case(name="netrc", index_wants="me:secret", netrc="machine 127.0.0.1 login me password secret\n"),
    Case(name="netrc default", index_wants="me:secret", netrc="default login me password secret\n"),
    Case(name="user in the address", index_wants="me:se/cret", userinfo="me:se%2Fcret@"),
    Case(name="user in the address, another in netrc", index_wants="me:secret", userinfo="me:secret@",
         netrc="default login you password other\n"),
    Case(name="token alone in the address", index_wants="token:", userinfo="token@"),
    Case(name="nobody's password", index_wants="me:secret", pip=False, ours=False),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    case: Case
    pip: bool
    ours: bool
    pip_said: str
    we_said: str

    @property
    def expected(self) -> bool:
        return (self.pip, self.ours) == (self.case.pip, self.case.ours)


@dataclass(frozen=True, kw_only=True)
class Certificates:
    authority: Authority
    server: Path
    client: Path
    other: Path

    @classmethod
    def below(cls, directory: Path) -> Certificates:
        for name in ("one", "two"):
            (directory / name).mkdir()
        authority = Authority(directory / "one")
        return cls(
            authority=authority,
            server=authority.issue("server", names=f"DNS:{NAME},IP:127.0.0.1"),
            client=authority.issue("client", names="DNS:client"),
            other=Authority(directory / "two").root,
        )


def compare(case: Case, certificates: Certificates, directory: Path) -> Outcome:
    """Run pip and ourselves through one case's servers."""
    wheel = craft_wheel("whl/probe-1.0-py3-none-any.whl", content="# probe")

    def answer(request: Request) -> Answer:
        if case.index_wants is not None and not _knows(request, case.index_wants):
            return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="index"'})
        if request.path == "/simple/probe/":
            page = (
                f'<html><body><h1>Links for probe</h1><a href="{wheel.path.name}">{wheel.path.name}</a></body></html>'
            )
            return Answer(headers={"Content-Type": "text/html"}, body=page.encode())
        return Answer(body=wheel.body)

    with ExitStack() as stack:
        tls: ssl.SSLContext | None = None
        if case.tls:
            tls = certificates.authority.serving(certificates.server, of_clients=case.of_clients)
        index = stack.enter_context(Loopback(answer, tls=tls))
        port = index.url.rpartition(":")[2]
        proxy = stack.enter_context(LoopbackProxy(wants=case.proxy_wants))
        place = {
            "proxy": proxy.url,
            "proxy_port": str(proxy.port),
            "port": port,
            "root": str(certificates.authority.root),
            "client": str(certificates.client),
            "other": str(certificates.other),
        }
        netrc, conf = directory / "netrc", directory / "pip.conf"
        netrc.write_text(case.netrc, encoding="utf-8")
        conf.write_text(case.pip_conf.format(**place), encoding="utf-8")
        environment = {name: os.environ[name] for name in _SPARED if name in os.environ}
        environment |= {name: value.format(**place) for name, value in case.variables.items()}
        environment |= {"NETRC": str(netrc), "PIP_CONFIG_FILE": str(conf)}
        url = f"{index.url.split('//')[0]}//{case.userinfo}{NAME if case.named else '127.0.0.1'}:{port}/simple"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", "--no-cache-dir", "--no-input",
               "--retries", "0", "--disable-pip-version-check", "-i", url, "probe"]  # fmt: skip
        by_pip, pip_said = _run(pip, environment, directory)
        ours, we_said = _run([sys.executable, "-c", _ASK, f"{url}/probe/"], environment, directory)
        assert bool(proxy.asked) or not case.proxied, "nobody came by the proxy"
        return Outcome(case=case, pip=by_pip, ours=ours, pip_said=pip_said, we_said=we_said)


def _knows(request: Request, wanted: str) -> bool:
    import base64

    return request.headers.get("Authorization") == "Basic " + base64.b64encode(wanted.encode()).decode()


def _run(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> tuple[bool, str]:
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False)
    return done.returncode == 0, (done.stderr.strip().splitlines() or [""])[-1]


def main() -> int:
    """Run every case and print who got there."""
    surprises = 0
    with tempfile.TemporaryDirectory() as name:
        certificates = Certificates.below(Path(name))
        for case in CASES:
            outcome = compare(case, certificates, Path(name))
            surprises += not outcome.expected
            words = ["works" if got else "fails" for got in (outcome.pip, outcome.ours)]
            mark = " " if outcome.expected else "!"
            sys.stdout.write(f"{mark} {case.name:45} pip {words[0]}  ours {words[1]}  {outcome.we_said}\n")
            if not outcome.expected:
                sys.stdout.write(f"    pip: {outcome.pip_said}\n")
    sys.stdout.write(f"{len(CASES)} cases, {surprises} not as expected\n")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
