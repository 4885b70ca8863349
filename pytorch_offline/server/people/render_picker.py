"""The picker as HTML: questions, the command for the answers, and what that needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytorch_offline.server.people.asked import fields_of
from pytorch_offline.server.people.commands import (
    Tool,
    render_command,
    render_pip_settings,
    render_pipfile,
    render_uv_settings,
)
from pytorch_offline.server.people.markup import NOTHING, Markup, code, fill, joined, phrase
from pytorch_offline.server.people.needs import needs_of
from pytorch_offline.server.people.offers import PLAIN, Offer, Offers, Question
from pytorch_offline.wheels.backend import BackendKind, is_backend, parse_backend

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pytorch_offline.server.people.address import Address
    from pytorch_offline.server.people.asked import Asked
    from pytorch_offline.server.people.installs import Install
    from pytorch_offline.server.people.words import Words

# How many answers stand in the open: two lines of them at most; the others are a click away. Of toolkits the newest of
# each kind, so that nobody looks for CPU behind thirty versions of CUDA.
_IN_THE_OPEN = 9
_TOOLKITS_IN_THE_OPEN = {BackendKind.CUDA: 5, BackendKind.ROCM: 2, BackendKind.XPU: 1, BackendKind.CPU: 1}
_SPACES = re.compile(r"(\s+)")
_FILES = {Tool.ENVIRONMENT: "environment.yml", Tool.REQUIREMENTS: "requirements.txt"}


def answers_of(offer: Offer) -> dict[Question, str]:
    """Give an offer's answers to all questions."""
    return {question: offer.answer(question) for question in Question}


def render_picker(asked: Asked, offers: Offers, chosen: Offer, words: Words) -> Markup:
    """Render the form: a group of radio buttons for each question, the chosen answers marked."""
    groups = [_question(question, offers, chosen, words) for question in Question]
    tools = [(tool.value, words.tools[tool.value], NOTHING) for tool in Tool]
    groups.append(_group("tool", words.tool, tools, asked.tool.value, words, in_the_open=set(Tool)))
    kept = {name: value for name, value in fields_of(asked).items() if name in {"lang", "q", "sort"}}
    was = " ".join(answers_of(chosen).values())
    hidden = hidden_fields({"was": was, **kept})
    return fill("picker", groups=joined(groups), hidden=hidden, hint=words.gives_way, show=words.show)


def render_result(asked: Asked, chosen: Offer, install: Install, address: Address, words: Words) -> Markup:
    """Render the command for a choice, what was changed for it, and what it needs."""
    file = _FILES.get(asked.tool)
    notes = [fill("note", text=text) for text in _notes(asked, install, words)]
    return fill(
        "result",
        changed=_changed(asked, chosen, words),
        command=render_copyable(
            "command-text",
            words.command if file is None else phrase(words.file, file=code(file)),
            render_command(asked.tool, chosen, install, address),
            words,
        ),
        notes=joined(notes),
        needs_heading=words.needs,
        needs=joined(Markup(f"<li>{text}</li>") for text in render_needs(chosen, words)),
    )


def render_settings(install: Install, address: Address, words: Words) -> Markup:
    """Render the files that make this mirror the one that tools ask."""
    blocks = [
        render_copyable(f"settings-{number}", code(label), text, words)
        for number, (label, text) in enumerate(
            (
                ("pip.conf", render_pip_settings(install, address)),
                ("uv.toml", render_uv_settings(install, address)),
                ("Pipfile", render_pipfile(install, address)),
            )
        )
    ]
    return fill(
        "settings",
        heading=words.settings,
        lead=phrase(words.settings_lead, pip=code("pip"), uv=code("uv")),
        blocks=joined(blocks),
    )


def render_copyable(identity: str, label: str, text: str, words: Words) -> Markup:
    """Render a block of text with a button that copies it."""
    return fill("copyable", id=identity, label=label, text=_in_words(text), copy=words.copy, copied=words.copied,
                failed=words.copy_failed)  # fmt: skip


def _in_words(text: str) -> Markup:
    """Keep the words of a command whole where lines are wrapped: a browser parts ``--index-url`` behind each hyphen."""
    return joined(
        fill("word", text=part) if part and not part.isspace() else Markup(part) for part in _SPACES.split(text)
    )


def hidden_fields(fields: Mapping[str, str]) -> Markup:
    """Render what a form sends along."""
    return joined(fill("hidden", name=name, value=value) for name, value in fields.items())


def label_of(question: Question, answer: str, offer: Offer, words: Words) -> str:
    """Write an answer as people know it: ``cu126`` is CUDA 12.6."""
    match question:
        case Question.TORCH:
            channel, _, version = answer.rpartition("/")
            return f"{version} {words.channels.get(channel, channel)}" if channel else version
        case Question.SYSTEM:
            return words.systems.get(answer, answer.replace("linux_", "Linux "))
        case Question.PYTHON:
            if answer.endswith("+"):
                return words.python_stable_abi.format(version=answer.removesuffix("+"))
            return answer if "." in answer else words.python_any.format(version=answer)
        case Question.BACKEND:
            return _backend_label(answer, offer, words)


def render_needs(offer: Offer, words: Words) -> list[Markup]:
    """Say what an offer needs, a sentence each."""
    needs = needs_of(offer)
    texts: list[Markup] = []
    smi = code("nvidia-smi")
    if needs.nvidia is not None:
        texts.append(phrase(words.needs_nvidia, driver=needs.nvidia.driver, smi=smi, cuda=str(needs.nvidia.cuda)))
        if needs.nvidia.cuda < needs.nvidia.native:
            texts.append(phrase(words.needs_nvidia_native, native=str(needs.nvidia.native)))
        texts.append(phrase(words.about_nvidia_smi, smi=smi, nvcc=code("nvcc -V")))
    elif needs.kind is BackendKind.ROCM:
        texts.append(phrase(words.needs_rocm))
    elif needs.kind is BackendKind.XPU:
        texts.append(phrase(words.needs_xpu))
    elif needs.kind is BackendKind.CPU:
        on_apple = offer.system == "macosx_arm64"
        texts.append(phrase(words.needs_mps if on_apple else words.needs_cpu))
    if needs.glibc is not None:
        texts.append(phrase(words.needs_glibc, version=needs.glibc, ldd=code("ldd --version")))
    if needs.macos is not None:
        texts.append(phrase(words.needs_macos, version=needs.macos))
    return texts


def _backend_label(answer: str, offer: Offer, words: Words) -> str:
    if answer == PLAIN:
        return words.backend_default
    if not is_backend(answer):
        return words.backend_special.format(name=answer)
    backend = parse_backend(answer)
    match backend.kind:
        case BackendKind.CPU:
            return words.backend_mps if offer.system == "macosx_arm64" else words.backend_cpu
        case BackendKind.CUDA:
            return f"CUDA {backend.version}"
        case BackendKind.ROCM:
            return f"ROCm {backend.version}"
        case BackendKind.XPU:
            return "Intel XPU"


def _question(question: Question, offers: Offers, chosen: Offer, words: Words) -> Markup:
    options = []
    for answer in offers.answers[question]:
        instead = offers.instead(chosen, question, answer)
        changes = [one for one in Question if one is not question and instead.answer(one) != chosen.answer(one)]
        text = _changes(changes, instead, words)
        hint = phrase(words.would_change, changes=text) if changes else NOTHING
        options.append((answer, label_of(question, answer, instead, words), hint))
    titles = {
        Question.TORCH: words.torch,
        Question.SYSTEM: words.system,
        Question.PYTHON: words.python,
        Question.BACKEND: words.backend,
    }
    in_the_open = _in_the_open(question, offers.answers[question])
    return _group(question.value, titles[question], options, chosen.answer(question), words, in_the_open=in_the_open)


def _in_the_open(question: Question, answers: Sequence[str]) -> Collection[str]:
    """Name the answers that are not folded away; all, where one or two would be."""
    if len(answers) <= _IN_THE_OPEN + 1:
        return answers
    if question is not Question.BACKEND:
        return answers[:_IN_THE_OPEN]
    left = dict(_TOOLKITS_IN_THE_OPEN)
    found = []
    for answer in answers:
        kind = parse_backend(answer).kind if is_backend(answer) else None
        if kind is not None and left[kind]:
            left[kind] -= 1
            found.append(answer)
    return found


def _group(
    name: str,
    title: str,
    options: Sequence[tuple[str, str, Markup]],
    chosen: str,
    words: Words,
    *,
    in_the_open: Collection[str],
) -> Markup:
    """Render one question: the answers in the open, and the others folded away unless one of them is chosen."""
    shown: list[Markup] = []
    folded: list[Markup] = []
    for number, (value, label, hint) in enumerate(options):
        answer = fill(
            "answer",
            id=f"{name}-{number}",
            name=name,
            value=value,
            checked="checked" if value == chosen else "",
            kind="gives-way" if hint else "",
            label=label,
            hint=hint,
        )
        (shown if value in in_the_open else folded).append(answer)
    older = NOTHING
    if folded:
        older = fill(
            "older",
            answers=joined(folded),
            label=words.count(words.older, len(folded)),
            open="" if chosen in in_the_open else "open",
        )
    return fill("question", id=f"question-{name}", title=title, answers=joined(shown), older=older)


def _changes(changes: Sequence[Question], to: Offer, words: Words) -> str:
    names = {
        Question.TORCH: words.torch,
        Question.SYSTEM: words.system,
        Question.PYTHON: words.python,
        Question.BACKEND: words.backend,
    }
    return words.separator.join(f"{names[one]} → {label_of(one, to.answer(one), to, words)}" for one in changes)


def _changed(asked: Asked, chosen: Offer, words: Words) -> Markup:
    """Say which answers gave way: those that were asked for and are not what was chosen."""
    gave_way = [one for one, answer in asked.wanted.items() if answer != chosen.answer(one)]
    return phrase(words.changed, changes=_changes(gave_way, chosen, words)) if gave_way else NOTHING


def _notes(asked: Asked, install: Install, words: Words) -> list[str]:
    notes = []
    if install.missing:
        single, _, several = words.without.partition("|")
        text = single if len(install.missing) == 1 or not several else several
        notes.append(text.format(projects=words.separator.join(install.missing)))
    if asked.tool in {Tool.CONDA, Tool.ENVIRONMENT}:
        notes.append(words.conda_note)
    return notes
