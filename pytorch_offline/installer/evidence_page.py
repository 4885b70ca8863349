"""The evidence for people: one page in two forms, for a browser and for ``less``, in English and Chinese.

Texts of programs and names of files are data here: control characters are taken out, HTML's are escaped, and the page
loads nothing and runs nothing.
"""

from html import escape
from typing import List, NamedTuple, Tuple

from pytorch_offline.bundle.reading.findings import say_bytes
from pytorch_offline.installer.evidence import Evidence, printable, utc_moment
from pytorch_offline.installer.torch_report import TorchReport, TrialStep

WIDTH_OF_LABELS = 26
STYLE = """\
body{font:15px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#1a1a1a}
h1{font-size:1.5em}h2{font-size:1.1em;margin-top:1.8em;border-bottom:1px solid #ccc}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2em .8em .2em 0}
th{white-space:nowrap;width:11em;font-weight:600;color:#555}code,td.t{font-family:ui-monospace,monospace;font-size:.92em}
td{overflow-wrap:anywhere}.ok{color:#0a6b2d}.bad{color:#a31515}.note{color:#7a5a00}
.zh{color:#444}@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}th,.zh{color:#aaa}
.ok{color:#5fd38a}.bad{color:#ff8080}.note{color:#e0b84d}}
"""

Row = Tuple[str, str]


class PageSection(NamedTuple):
    """A part of the page: a heading in two languages, rows of label and text; ``mood`` is ok, bad or note."""

    heading: str
    chinese: str
    rows: Tuple[Row, ...]
    mood: str = ""


def visible(text: str) -> str:
    """Make a text harmless for a terminal: one line, without control characters."""
    plain = "".join(letter if letter.isprintable() or letter == " " else " " for letter in printable(text))
    return " ".join(plain.split())


def page_sections(evidence: Evidence) -> Tuple[PageSection, ...]:
    """Lay an evidence out as sections."""
    sections = [verdict_section(evidence)]
    if evidence.findings:
        rows = tuple(
            (("FAILS " if one.fails else "note ") + f"{one.check} {one.subject}".strip(), one.detail)
            for one in sorted(evidence.findings, key=lambda finding: not finding.fails)
        )
        sections.append(PageSection("What was found", "发现", rows, "bad" if evidence.failures else "note"))
    for one in evidence.diagnoses:
        rows = (
            ("seen", one.seen),
            ("means", one.means),
            ("do", one.remedy),
            ("含义", one.means_zh),
            ("处理", one.remedy_zh),
        )
        told = "Note" if one.note else "Cause"
        sections.append(
            PageSection(f"{told}: {one.code}", "说明" if one.note else "原因", rows, "note" if one.note else "bad")
        )
    sections += [bundle_section(evidence), machine_section(evidence), wheels_section(evidence)]
    if evidence.torch is not None:
        sections.append(torch_section(evidence.torch))
    timings = tuple((name, f"{seconds:.1f} s") for name, seconds in evidence.timings)
    if timings:
        sections.append(PageSection("Time", "用时", timings))
    return tuple(sections)


def verdict_section(evidence: Evidence) -> PageSection:
    """Say how it ended."""
    proven = not evidence.failures
    verdict = "proven: everything that was checked is as it should be" if proven else "NOT PROVEN"
    chinese = "已验证：所检查的一切正常" if proven else "未通过验证"
    rows: List[Row] = [
        ("result", verdict),
        ("结果", chinese),
        ("at", utc_moment(evidence.at)),
        ("environment", evidence.prefix),
        ("interpreter", f"{evidence.interpreter} (Python {evidence.plan.survey.python})"),
        ("files hashed again", f"{evidence.files_checked:,}"),
    ]
    if evidence.torch is not None:
        rows.append(
            ("torch", f"{evidence.torch.version or 'could not be imported'}, backend {evidence.plan.lock.backend}")
        )
        rows.append(("computed on", ", ".join(evidence.computed_on) or "nothing"))
    return PageSection("Result", "结果", tuple(rows), "ok" if proven else "bad")


def bundle_section(evidence: Evidence) -> PageSection:
    """Name the bundle."""
    manifest = evidence.plan.manifest
    rows: List[Row] = [
        ("id", manifest.id),
        ("lineage, counter", f"{manifest.lineage}, {manifest.counter}"),
        ("created", manifest.created),
        ("target", evidence.plan.lock.target),
        ("taken from", ", ".join(evidence.plan.request.places)),
    ]
    rows += [("signature", sentence) for sentence in evidence.plan.signature]
    if evidence.plan.chosen:
        rows.append(("chosen", evidence.plan.chosen))
    rows += [("although", str(misfit)) for misfit in evidence.plan.tolerated]
    return PageSection("Bundle", "安装包", tuple(rows))


def machine_section(evidence: Evidence) -> PageSection:
    """Describe the machine."""
    facts, machine = evidence.facts, evidence.plan.survey.machine
    accelerator = machine.get("accelerator") or {}
    libc = machine.get("libc") or {}
    rows: List[Row] = [("system", f"{facts.system} {facts.kernel}")]
    if libc:
        rows.append(("C library", "{} {}".format(libc.get("name"), libc.get("version"))))
    rows.append(("accelerator", str(accelerator.get("kind") or "none")))
    rows += [(name, str(accelerator[name])) for name in ("driver", "cuda", "l4t") if accelerator.get(name)]
    for device in accelerator.get("devices") or ():
        kind = device.get("compute_capability") or device.get("gfx") or "unknown"
        rows.append(("device", "{} ({})".format(device.get("name") or "unnamed", kind)))
    told = (
        ("device files", ", ".join(one.path + ("" if one.usable else " (not usable)") for one in facts.devices)),
        ("kernel modules", ", ".join(facts.modules)),
        ("container", facts.container),
        ("libcuda", "; ".join(facts.libcuda)),
        ("variables", "; ".join(f"{name}={value}" for name, value in sorted(facts.variables.items()))),
    )
    rows += [row for row in told if row[1]]
    return PageSection("Machine", "机器", tuple(rows))


def wheels_section(evidence: Evidence) -> PageSection:
    """List the wheels."""
    hashed = {one.project: one for one in evidence.hashed}
    rows = []
    for wheel in evidence.plan.wheels:
        found = hashed.get(wheel.project)
        told = f"{len(found.on_disk):,} files, {say_bytes(found.size)}" if found is not None else "not looked at"
        kept = ", was there before" if wheel.project in evidence.kept else ""
        rows.append((wheel.project, f"{wheel.version}  {told}{kept}"))
    return PageSection("Wheels", "软件包", tuple(rows))


def torch_section(report: TorchReport) -> PageSection:
    """Tell the trial step by step."""
    return PageSection("torch", "torch", tuple((step.name, step_words(step)) for step in report.steps))


def step_words(step: TrialStep) -> str:
    """Say what came of a step."""
    if not step.finished:
        return "not finished"
    facts = ", ".join(f"{name} {value}" for name, value in sorted(step.facts.items()) if value not in (None, [], {}))
    if step.name == "libraries":
        facts = "{} files".format(len(step.facts.get("files") or ()))
    ended = f"FAILED: {step.error}" if step.error else "done"
    return f"{ended} in {step.seconds:.2f} s" + (f": {facts}" if facts else "")


def render_evidence_text(evidence: Evidence) -> str:
    """Write the page as text."""
    lines = ["pytorch-offline: evidence", ""]
    for section in page_sections(evidence):
        title = section.heading if section.heading == section.chinese else f"{section.heading} / {section.chinese}"
        lines += [title, "-" * max(20, len(title))]
        lines += [f"  {visible(label):<{WIDTH_OF_LABELS}} {visible(text)}".rstrip() for label, text in section.rows]
        lines.append("")
    return "\n".join(lines)


def render_evidence_html(evidence: Evidence) -> str:
    """Write the page as HTML that stands alone."""
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>pytorch-offline: evidence</title>\n<style>\n{STYLE}</style></head><body>",
        "<h1>pytorch-offline: evidence <span class=zh lang=zh>验证记录</span></h1>",
    ]
    for section in page_sections(evidence):
        chinese = (
            "" if section.chinese == section.heading else f" <span class=zh lang=zh>{escape(section.chinese)}</span>"
        )
        parts.append(f'<h2 class="{section.mood}">{escape(section.heading)}{chinese}</h2>\n<table>')
        parts += [html_row(label, text) for label, text in section.rows]
        parts.append("</table>")
    return "\n".join([*parts, "</body></html>", ""])


def html_row(label: str, text: str) -> str:
    """Write a row of a table."""
    language = ' lang="zh"' if any(letter > "\u2e7f" for letter in label) else ""
    return f"<tr><th{language}>{escape(visible(label))}</th><td{language}>{escape(visible(text))}</td></tr>"
