"""A few of the cases of ``against_pip.py``, where all of them can be run by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.net.against_pip import CASES, Certificates, compare

if TYPE_CHECKING:
    from pathlib import Path

    from tests.net.against_pip import Case

FEW = (
    "pip.conf [install] over [global]",
    "NO_PROXY with pip's proxy",
    "SSL_CERT_FILE beside another cert",
    "user in the address, another in netrc",
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.below(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("case", [case for case in CASES if case.name in FEW], ids=lambda case: case.name)
def test_who_gets_there(case: Case, certificates: Certificates, tmp_path: Path) -> None:
    outcome = compare(case, certificates, tmp_path)
    assert outcome.expected, f"pip: {outcome.pip_said}\nours: {outcome.we_said}"
