"""The alerts in ``deploy/`` ask for metrics that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.server.monitoring.test_health import FULL, GatewayFigures, answered, metrics, samples

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus-rules.yml"
_NAME = re.compile(r"\bpytorch_offline_[a-z_]+")


def known_names() -> set[str]:
    text = answered(metrics(FULL, GatewayFigures.talkative()))[3]
    # What is counted has no sample before it was counted once.
    return {name for name, _ in samples(parse_text(text))} | set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))


def test_every_metric_in_the_rules_is_one_of_ours() -> None:
    asked = set(_NAME.findall(RULES.read_text(encoding="utf-8")))
    assert len(asked) > 5
    assert asked <= known_names()


def test_every_metric_in_the_documentation_is_one_of_ours() -> None:
    asked = set(_NAME.findall((ROOT / "docs" / "serving.md").read_text(encoding="utf-8")))
    assert len(asked) > 5
    assert asked <= known_names()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus's own tool is not installed")
def test_promtool_reads_the_rules() -> None:
    ended = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
