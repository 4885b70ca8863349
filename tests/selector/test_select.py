from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.selector.explaining.render import document_of, render_tree
from pytorch_offline.selector.lock import locked_at_origin, render_pylock
from pytorch_offline.selector.model import Request
from pytorch_offline.selector.select import select
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.backend import parse_backend
from tests.selector.machines import SEED, SEED_WITHOUT_COMPAT, machine, nvidia
from tests.selector.memory import MemoryIndex, MemoryOffers

if TYPE_CHECKING:
    from pytorch_offline.selector.model import Selection
    from pytorch_offline.target.model import Target

BACKENDS = tuple(map(parse_backend, ["cpu", "cu118", "cu121", "cu124", "cu126", "cu130"]))
LINUX_ONLY = 'platform_system == "Linux" and platform_machine == "x86_64"'


@pytest.fixture
def index() -> MemoryIndex:
    index = MemoryIndex()
    for version, backends in {
        "2.3.1": "cu118 cu121",
        "2.4.0": "cu118 cu121 cu124",
        "2.6.0": "cu118 cu124 cu126",
    }.items():
        for backend in backends.split():
            cuda = "cu12" if backend > "cu12" else "cu11"
            for platform in ("linux_x86_64", "win_amd64"):
                index.add(
                    f"{backend}/torch-{version}+{backend}-cp310-cp310-{platform}.whl",
                    [
                        "filelock",
                        "typing-extensions>=4.8.0",
                        f"nvidia-cublas-{cuda}==1.0; {LINUX_ONLY}",
                        f"triton==3.0.0; {LINUX_ONLY} and python_version < '3.13'",
                        "optree>=0.11.0; extra == 'optree'",
                    ],
                    requires_python=">=3.8.0",
                    extras=["optree"],
                )
    index.add("cpu/torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl", ["filelock"])
    index.add("cpu/torch-2.4.0-cp310-none-macosx_11_0_arm64.whl", ["filelock", f"triton==3.0.0; {LINUX_ONLY}"])
    index.add("cu118/torchvision-0.19.0+cu118-cp310-cp310-linux_x86_64.whl", ["torch==2.4.0"])
    index.add("cu121/torchvision-0.19.0+cu121-cp310-cp310-linux_x86_64.whl", ["torch==2.4.0"])
    index.add("cu124/torchvision-0.21.0+cu124-cp310-cp310-linux_x86_64.whl", ["torch==2.6.0"])
    index.add("triton-3.0.0-1-cp310-cp310-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", ["filelock"])
    for cuda in ("cu11", "cu12"):
        index.add(f"nvidia_cublas_{cuda}-1.0-py3-none-manylinux1_x86_64.whl", default_index=True)
    index.add("filelock-3.16.0-py3-none-any.whl", default_index=True)
    index.add("filelock-3.20.0-py3-none-any.whl", page_requires_python=">=3.11", default_index=True)
    index.add("filelock-3.18.0-py3-none-any.whl", requires_python=">=3.11", default_index=True)
    index.add("typing_extensions-4.12.2-py3-none-any.whl", default_index=True)
    index.add("optree-0.13.0-cp310-cp310-manylinux_2_17_x86_64.whl", default_index=True)
    return index


def request(*requirements: str, constraints: tuple[str, ...] = (), **options: object) -> Request:
    return Request(
        requirements=tuple(map(Requirement, requirements)),
        constraints=tuple(map(Requirement, constraints)),
        **options,  # type: ignore[arg-type]
    )


def chosen(index: MemoryIndex, target: Target, *requirements: str, **options: object) -> Selection:
    return select(request(*requirements, **options), target, index.offers_for(target), BACKENDS)  # type: ignore[arg-type]


def names(selection: Selection) -> dict[str, str]:
    return {choice.candidate.project: choice.candidate.file.link.filename for choice in selection.choices}


def test_seed_machine_gets_the_natively_covered_build(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "torch==2.4.0")
    assert names(selection)["torch"] == "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    assert str(selection.backend) == "cu121"
    assert set(names(selection)) == {"torch", "filelock", "typing-extensions", "nvidia-cublas-cu12", "triton"}


def test_without_compat_it_gets_cu118(index: MemoryIndex) -> None:
    assert names(chosen(index, SEED_WITHOUT_COMPAT, "torch==2.4.0"))["torch"].startswith("torch-2.4.0+cu118-")


def test_newest_torch_beats_native_coverage(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "torch")
    assert names(selection)["torch"].startswith("torch-2.6.0+cu118-")
    assert names(chosen(index, machine(accelerator=nvidia("530.30.02")), "torch>=2.6"))["torch"].startswith(
        "torch-2.6.0+cu118-"
    )
    assert names(chosen(index, machine(accelerator=nvidia("560.28.03")), "torch"))["torch"].startswith(
        "torch-2.6.0+cu126-"
    )


def test_companion_decides_torch_and_they_share_a_backend(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "torchvision==0.19.0", "torch")
    assert names(selection)["torch"].startswith("torch-2.4.0+cu121-")
    assert names(selection)["torchvision"].startswith("torchvision-0.19.0+cu121-")


def test_backtracks_to_a_backend_where_the_whole_family_is(index: MemoryIndex) -> None:
    # cu126 is the best build of torch 2.6.0 here, but only cu124 has a torchvision for it.
    selection = chosen(index, machine(accelerator=nvidia("560.28.03")), "torch==2.6.0", "torchvision")
    assert names(selection)["torch"].startswith("torch-2.6.0+cu124-")
    assert names(selection)["torchvision"].startswith("torchvision-0.21.0+cu124-")


def test_windows_gets_no_linux_libraries(index: MemoryIndex) -> None:
    selection = chosen(index, machine("win_amd64", accelerator=nvidia("560.94")), "torch==2.4.0")
    assert set(names(selection)) == {"torch", "filelock", "typing-extensions"}
    assert names(selection)["torch"] == "torch-2.4.0+cu124-cp310-cp310-win_amd64.whl"


def test_macos_gets_the_file_without_a_local_version(index: MemoryIndex) -> None:
    selection = chosen(index, machine("macosx_14_0_arm64"), "torch==2.4.0")
    assert names(selection)["torch"] == "torch-2.4.0-cp310-none-macosx_11_0_arm64.whl"
    assert set(names(selection)) == {"torch", "filelock"}


def test_requires_python_of_page_and_of_metadata_both_count(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "filelock")
    assert names(selection) == {"filelock": "filelock-3.16.0-py3-none-any.whl"}
    reasons = {r.file.name.filename: r.reason for r in selection.rejected if r.file is not None}
    assert reasons == {
        "filelock-3.18.0-py3-none-any.whl": "requires-python",
        "filelock-3.20.0-py3-none-any.whl": "requires-python",
    }


def test_extras_bring_their_requirements_and_the_same_wheel(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "torch[optree]==2.4.0")
    assert names(selection)["optree"].startswith("optree-0.13.0")
    assert "optree" not in names(chosen(index, SEED, "torch==2.4.0"))
    torch = next(choice for choice in selection.choices if choice.candidate.project == "torch")
    assert torch.extras == {"optree"}


def test_nested_extras_of_a_meta_package() -> None:
    index = MemoryIndex()
    linux = "sys_platform == 'linux'"
    index.add(
        "cuda_toolkit-13.0.0-py2.py3-none-any.whl",
        [f"nvidia-cublas==13.0.0; {linux} and extra == 'cublas'", "cuda-toolkit[cublas]==13.0.0; extra == 'all'"],
        extras=["cublas", "all"],
        default_index=True,
    )
    index.add("nvidia_cublas-13.0.0-py3-none-manylinux_2_27_x86_64.whl", default_index=True)
    assert set(names(chosen(index, SEED, "cuda-toolkit[all]"))) == {"cuda-toolkit", "nvidia-cublas"}
    assert set(names(chosen(index, machine("win_amd64"), "cuda-toolkit[all]"))) == {"cuda-toolkit"}


def test_unknown_extra_is_a_warning(index: MemoryIndex) -> None:
    assert any("no extra called 'nope'" in text for text in chosen(index, SEED, "filelock[nope]").warnings)


def test_constraints_bind_only_what_is_needed(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "torch", constraints=("torch<2.6", "never-heard-of==1"))
    assert names(selection)["torch"].startswith("torch-2.4.0+cu121-")


def test_exact_local_version_chooses_the_build(index: MemoryIndex) -> None:
    assert names(chosen(index, SEED, "torch==2.4.0+cu118"))["torch"].startswith("torch-2.4.0+cu118-")


def test_forced_backend_that_cannot_run_is_a_warning(index: MemoryIndex) -> None:
    selection = chosen(index, SEED_WITHOUT_COMPAT, "torch==2.4.0", backend=parse_backend("cu124"))
    assert names(selection)["torch"].startswith("torch-2.4.0+cu124-")
    assert any("cu124" in text and "525.60.13" in text for text in selection.warnings)


def test_cpu_can_be_forced_anywhere_without_a_warning(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "torch==2.4.0", backend=parse_backend("cpu"))
    assert names(selection)["torch"] == "torch-2.4.0+cpu-cp310-cp310-linux_x86_64.whl"
    assert selection.warnings == ()


def test_unknown_gpu_is_said(index: MemoryIndex) -> None:
    assert "--accelerator none" in chosen(index, machine(), "torch").warnings[0]
    assert chosen(index, machine(accelerator=Accelerator(kind=AcceleratorKind.NONE)), "torch").warnings == ()
    assert chosen(index, machine("macosx_14_0_arm64"), "torch").warnings == ()
    assert chosen(index, machine(), "filelock").warnings == ()


def test_pre_releases_only_when_asked_for_or_alone() -> None:
    index = MemoryIndex()
    index.add("a-1.0-py3-none-any.whl", default_index=True)
    index.add("a-2.0rc1-py3-none-any.whl", default_index=True)
    index.add("b-2.0rc1-py3-none-any.whl", default_index=True)
    assert names(chosen(index, SEED, "a"))["a"] == "a-1.0-py3-none-any.whl"
    assert names(chosen(index, SEED, "a", pre=True))["a"] == "a-2.0rc1-py3-none-any.whl"
    assert names(chosen(index, SEED, "a>=2.0rc1"))["a"] == "a-2.0rc1-py3-none-any.whl"
    assert names(chosen(index, SEED, "b"))["b"] == "b-2.0rc1-py3-none-any.whl"


def test_yanked_files_serve_an_exact_pin_only() -> None:
    index = MemoryIndex()
    index.add("a-1.0-py3-none-any.whl", default_index=True)
    index.add("a-1.1-py3-none-any.whl", yanked="", default_index=True)
    assert names(chosen(index, SEED, "a"))["a"] == "a-1.0-py3-none-any.whl"
    assert names(chosen(index, SEED, "a==1.1"))["a"] == "a-1.1-py3-none-any.whl"
    with pytest.raises(UnsatisfiableError):
        chosen(index, SEED, "a>1.0")


def test_best_tag_then_highest_build_tag() -> None:
    index = MemoryIndex()
    for filename in (
        "a-1.0-1-cp310-cp310-manylinux_2_17_x86_64.whl",
        "a-1.0-2-cp310-cp310-manylinux_2_17_x86_64.whl",
        "a-1.0-9-py3-none-any.whl",
        "a-1.0-cp310-cp310-manylinux_2_36_x86_64.whl",
    ):
        index.add(filename, default_index=True)
    assert names(chosen(index, SEED, "a"))["a"] == "a-1.0-2-cp310-cp310-manylinux_2_17_x86_64.whl"


def test_metadata_of_losers_is_not_read(index: MemoryIndex) -> None:
    offers: MemoryOffers = index.offers_for(SEED)
    select(request("torch==2.4.0"), SEED, offers, BACKENDS)
    assert {name for name in offers.metadata_read if name.startswith("torch-")} == {
        "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl"
    }


def test_no_deps_reads_no_metadata(index: MemoryIndex) -> None:
    offers = index.offers_for(SEED)
    selection = select(request("torch==2.4.0", no_deps=True), SEED, offers, BACKENDS)
    assert set(names(selection)) == {"torch"}
    assert offers.metadata_read == []


def test_markers_that_do_not_hold_drop_a_root(index: MemoryIndex) -> None:
    assert names(chosen(index, SEED, "filelock", "torch; sys_platform == 'win32'")).keys() == {"filelock"}


def test_unknown_release_of_the_target_is_reported() -> None:
    index = MemoryIndex()
    index.add("a-1.0-py3-none-any.whl", ["b; platform_release >= '5'"], default_index=True)
    assert any("platform_release" in text for text in chosen(index, SEED, "a").warnings)


def test_unknown_project(index: MemoryIndex) -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        chosen(index, SEED, "torhc")
    assert (caught.value.code, caught.value.exit_code) == ("project-not-found", 5)
    assert "torhc" in caught.value.message


def test_impossible_version_names_what_exists(index: MemoryIndex) -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        chosen(index, SEED, "torch==9.9")
    assert caught.value.code == "no-wheel"
    assert "2.6.0, 2.4.0, 2.3.1" in str(caught.value.hint)


def test_too_new_python_says_which_rule_failed(index: MemoryIndex) -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        chosen(index, machine(python="3.14.0", accelerator=nvidia("560.28.03")), "torch")
    assert any("wheel-tags" in fact for fact in caught.value.facts)
    assert any(
        "built for Python 3.10; the target has Python 3.14" in str(value) for value in caught.value.facts.values()
    )


def test_contradiction_tells_both_sides(index: MemoryIndex) -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        chosen(index, SEED, "torch==2.3.1", "torchvision==0.19.0")
    told = " ".join(map(str, caught.value.facts.values())) + caught.value.message
    assert "torch==2.4.0" in told
    assert "torch==2.3.1" in told


def test_driver_too_old_for_any_build() -> None:
    with pytest.raises(UnsatisfiableError) as caught:
        select(request("torch"), machine(accelerator=nvidia("340.0")), MemoryIndex().offers_for(SEED), BACKENDS)
    assert caught.value.code == "no-backend"
    assert caught.value.facts["cu118"] == "needs driver 450.80.02 or later; the target has driver 340.00"
    assert caught.value.facts["cu121, cu124, cu126"] == "needs driver 525.60.13 or later; the target has driver 340.00"


def test_every_loser_that_was_admitted_has_a_reason(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "torch==2.4.0")
    reasons = {r.file.name.filename if r.file else str(r.backend): r.reason for r in selection.rejected}
    assert reasons["torch-2.4.0+cu118-cp310-cp310-linux_x86_64.whl"] == "backend"
    assert reasons["torch-2.4.0+cu124-cp310-cp310-linux_x86_64.whl"] == "backend"
    assert reasons["torch-2.4.0+cu121-cp310-cp310-win_amd64.whl"] == "wheel-tags"
    assert reasons["cu130"] == "driver"


def test_shown_as_tree_reason_and_document(index: MemoryIndex) -> None:
    selection = chosen(index, SEED, "torch==2.4.0")
    tree = render_tree(selection)
    assert tree.startswith("torch 2.4.0+cu121  (size unknown)\n├── ")
    assert "├── triton 3.0.0" in tree
    assert "└── filelock" in tree or "└── typing-extensions" in tree
    assert "user-mode CUDA 12.2 covers cu121" in tree
    assert "total: 5 wheels, sizes unknown" in tree
    document = document_of(selection, {c.candidate.file.link.url: "place" for c in selection.choices})
    assert document["backend"] == "cu121"
    assert {"project", "version", "filename", "url", "path", "sha256", "size", "why"} <= set(document["files"][0])


def test_no_password_is_shown(index: MemoryIndex) -> None:
    for path, (file, body) in list(index.files.items()):
        url = file.link.url.replace("https://", "https://user:secret@")
        index.files[path] = (replace(file, link=replace(file.link, url=url)), body)
    selection = chosen(index, SEED, "torch==2.4.0")
    document = document_of(selection, {c.candidate.file.link.url: "place" for c in selection.choices})
    assert "secret" not in json.dumps(document)
    assert "secret" not in render_pylock(locked_at_origin(selection), SEED)


def test_order_of_the_index_does_not_matter(index: MemoryIndex) -> None:
    backwards = MemoryIndex(dict(reversed(list(index.files.items()))))
    for requirements in (("torch",), ("torch==2.4.0",), ("torchvision", "torch==2.4.0")):
        assert names(chosen(index, SEED, *requirements)) == names(chosen(backwards, SEED, *requirements))
