"""A target from pasted texts: what they say, what flags add, and what stays unknown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.codec import parse_target, render_target
from pytorch_offline.target.describe import render_summary, unknown_facts
from pytorch_offline.target.model import AcceleratorKind, Libc, Target
from pytorch_offline.target.pasted import parse_pasted, target_of_pasted
from pytorch_offline.target.pasted_files import decode_text

SMI = """+-----------------------------------------------------------------------------+
| NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 12.2     |
|   0  NVIDIA A100-PCI...  On   | 00000000:3B:00.0 Off |                    0 |
"""
LDD = "ldd (Ubuntu GLIBC 2.35-0ubuntu3.8) 2.35\n"
OS_RELEASE = 'NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\n'


def target(*texts: str, **flags: Any) -> Target:  # noqa: ANN401  (whatever a flag takes)
    pasted = parse_pasted([(f"text {index}", text) for index, text in enumerate(texts)])
    return target_of_pasted(pasted, TargetFlags(**flags))


def test_texts_alone_describe_a_machine() -> None:
    made = target(SMI, LDD, "x86_64\n", "Python 3.10.12\n")
    flags = TargetFlags(python_version="3.10.12", platform="linux_x86_64", glibc="2.35")
    assert made.tags == build_target(flags).tags
    assert made.accelerator is not None
    assert (made.accelerator.driver_text, str(made.accelerator.cuda)) == ("470.82.01", "12.2")
    assert [device.compute_capability for device in made.accelerator.devices] == [(8, 0)]
    assert made.learnt_from["accelerator.driver"] == "text 0"
    assert made.learnt_from["libc"] == "text 1"
    assert made.learnt_from["marker_environment.platform_machine"] == "text 2"
    assert made.learnt_from["marker_environment.python_full_version"] == "text 3"
    assert parse_target(render_target(made)) == made


def test_a_distribution_says_its_c_library_but_not_which_python_is_used() -> None:
    pasted = parse_pasted([("os", OS_RELEASE)])
    assert (pasted.glibc, pasted.python_version) == ("2.35", None)
    assert pasted.notes == ("the own Python of ubuntu:22.04 is 3.10",)
    with pytest.raises(UsageError) as caught:
        target_of_pasted(pasted, TargetFlags())
    assert caught.value.code == "target-incomplete"
    assert list(caught.value.facts) == ["the Python version", "the architecture", "noticed"]
    made = target(OS_RELEASE, python_version="3.10", platform="linux_aarch64")
    assert made.libc == Libc(name="glibc", version=(2, 35))
    assert made.learnt_from["libc"] == "text 0: ubuntu:22.04"


def test_everything_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        target(SMI)
    assert caught.value.exit_code == 2
    assert list(caught.value.facts) == ["the Python version", "the platform", "the C library"]
    assert "--python-version" in str(caught.value.facts["the Python version"])


def test_flags_and_presets_complete_and_override_texts() -> None:
    made = target(SMI, LDD, preset="rhel8", driver="580.95.05")
    assert made.libc == Libc(name="glibc", version=(2, 28))
    assert made.learnt_from["libc"] == "--preset rhel8"
    assert made.accelerator is not None
    assert (made.accelerator.driver_text, str(made.accelerator.cuda)) == ("580.95.05", "12.2")
    older = target(LDD, "x86_64\n", "Python 3.10.12\n", glibc="2.28")
    assert (older.libc, older.learnt_from["libc"]) == (Libc(name="glibc", version=(2, 28)), "--glibc 2.28")
    windows = target(SMI, LDD, platform="win_amd64", python_version="3.12")
    assert (windows.system, windows.libc) == ("Windows", None)
    assert "libc" not in windows.learnt_from
    stated = target(SMI, LDD, platform="manylinux_2_28_x86_64", python_version="3.12")
    assert stated.learnt_from["libc"] == "--platform manylinux_2_28_x86_64"


def test_other_platforms() -> None:
    mac = target("ProductName: macOS\nProductVersion: 14.5\n", "arm64\n", "Python 3.12.1\n")
    assert (mac.tags[0].platform, mac.machine) == ("macosx_14_0_arm64", "arm64")
    assert mac.accelerator is not None
    assert mac.accelerator.kind is AcceleratorKind.MPS
    alpine = target("musl libc (x86_64)\nVersion 1.2.4\n", "Python 3.12.1\n")
    assert alpine.libc == Libc(name="musl", version=(1, 2))
    assert alpine.learnt_from["libc"] == "text 0"
    amd = target("gfx000\ngfx1100\n", preset="ubuntu24.04")
    assert amd.accelerator is not None
    assert (amd.accelerator.kind, amd.accelerator.devices[0].gfx) == (AcceleratorKind.ROCM, "gfx1100")


def test_wsl_remembers_whose_driver_it_is() -> None:
    made = target("| NVIDIA-SMI 560.35.02    Driver Version: 560.94    CUDA Version: 12.6     |", preset="ubuntu22.04")
    assert made.accelerator is not None
    assert (made.accelerator.driver, made.accelerator.driver_system) == (Version("560.94"), "Windows")
    assert parse_target(render_target(made)) == made
    overridden = build_target(TargetFlags(driver="580.95.05"), made).accelerator
    assert overridden is not None
    assert overridden.driver_system is None


def test_what_stays_unknown_is_named() -> None:
    made = target("| NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: N/A |", preset="ubuntu22.04")
    assert unknown_facts(made)[2:] == ("accelerator.cuda", "accelerator.devices")
    strange = target("NVIDIA Something New, 999.01\n", preset="ubuntu22.04")
    assert unknown_facts(strange)[2:] == ("accelerator.cuda", "accelerator.devices[0].compute_capability")


def test_the_compilers_version_is_shown_and_not_used() -> None:
    pasted = parse_pasted([("nvcc", "Cuda compilation tools, release 13.4, V13.4.92\n")])
    assert pasted.accelerator is None
    assert "nvcc 13.4" in pasted.notes[0]


def test_texts_that_say_nothing_are_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        parse_pasted([("a.txt", "hello"), ("b.txt", "")])
    assert caught.value.code == "nothing-recognised"
    assert "a.txt, b.txt" in caught.value.message


def test_texts_that_disagree_are_named_and_the_first_counts() -> None:
    one = "NVIDIA-SMI 535.183.06   Driver Version: 535.183.06   CUDA Version: 12.2 \nldd (GNU libc) 2.17\n"
    two = "NVIDIA-SMI 610.43.02   KMD Version: 610.43.02   CUDA UMD Version: 13.3 \nldd (GNU libc) 2.35\n"
    found = parse_pasted([("one.txt", one), ("two.txt", two)])
    assert found.glibc == "2.17"
    told = "\n".join(found.notes)
    for part in (
        "535.183.06 in one.txt, 610.43.02 in two.txt",
        "12.2 in one.txt",
        "2.17 in one.txt, glibc 2.35 in two",
    ):
        assert part in told
    assert parse_pasted([("one.txt", one), ("again.txt", one)]).notes == ()


def test_one_text_of_two_machines_is_told() -> None:
    two = (
        "NVIDIA-SMI 535.183.06   Driver Version: 535.183.06   CUDA Version: 12.2 \nPython 3.10.12\n"
        "NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 11.4 \nPython 3.8.10\n"
    )
    told = parse_pasted([("both.txt", two)]).notes
    assert told == (
        "both.txt shows several drivers: 535.183.06, 470.82.01; the first is taken",
        "both.txt shows several Pythons: 3.10.12, 3.8.10; the first is taken",
    )


@pytest.mark.parametrize(
    "said",
    [
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "Failed to initialize NVML: Driver/library version mismatch",
        "No devices were found",
    ],
)
def test_an_nvidia_smi_that_failed_is_no_proof_of_no_gpu(said: str) -> None:
    pasted = parse_pasted([("smi.txt", said), ("sys.txt", LDD + UNAME + "Python 3.12.4\n")])
    assert "nvidia-smi failed in smi.txt" in pasted.notes[0]
    assert target_of_pasted(pasted, TargetFlags()).accelerator is None


def test_a_file_of_something_else_is_found_to_say_nothing() -> None:
    for text in ("a" * 100_000, "| 0 " * 50_000, " " * 100_000, "x y\n" * 30_000):
        with pytest.raises(UsageError, match="nothing that describes a machine"):
            parse_pasted([("big.bin", text)])


def test_a_number_at_which_the_text_was_cut_is_not_taken() -> None:
    cut = parse_pasted([("cut.txt", "NVIDIA-SMI 535.183.06   Driver Version: 535.18"), ("uname", "x86_64\n")])
    assert cut.accelerator is None


WINDOWS_SMI = """| NVIDIA-SMI 551.86                 Driver Version: 551.86         CUDA Version: 12.4     |
|   0  NVIDIA GeForce RTX 4070      WDDM  |   00000000:01:00.0  On |                  N/A |
"""
UNAME = "Linux node 6.5.0-35-generic #35~22.04.1-Ubuntu SMP x86_64 x86_64 x86_64 GNU/Linux\n"
TEGRA_UNAME = "Linux orin 5.15.136-tegra #1 SMP PREEMPT aarch64 aarch64 aarch64 GNU/Linux\n"


@pytest.mark.parametrize(
    ("texts", "platform", "kind", "driver"),
    [
        ([WINDOWS_SMI, "System Type:  x64-based PC\n", "Python 3.12.4\n"], "win_amd64", "cuda", "551.86"),
        (["Microsoft Windows [Version 10.0.26100.1]\r\nAMD64\r\nPython 3.12.4\r\n"], "win_amd64", None, None),
        (["System Type:  ARM64-based PC\n", "Python 3.12.4\n"], "win_arm64", None, None),
        (["System Version: macOS 14.5 (23F79)\nChip: Apple M1 Pro\nPython 3.12.1\n"], "macosx_14_0_arm64", "mps", None),
        (["ProductVersion: 12.6\n", "x86_64\n", "Python 3.9.6\n"], "macosx_12_0_x86_64", None, None),
        (["gfx1100\n", UNAME, LDD, "Python 3.12.4\n"], "linux_x86_64", "rocm", None),
        (["GPU[0] : Card series: Instinct MI50\n", UNAME, LDD, "Python 3.12.4\n"], "linux_x86_64", "rocm", None),
        (["Device Name: Intel(R) Arc(TM) A770 Graphics |\n", UNAME, LDD, "Python 3.12.4\n"],
         "linux_x86_64", "xpu", None),
        (["# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref\n", LDD, "arm64\n", "Python 3.8.10\n"],
         "linux_aarch64", "cuda", None),
        ([TEGRA_UNAME, LDD, "Python 3.10.12\n"], "linux_aarch64", "cuda", None),
        (["musl libc (x86_64)\nVersion 1.2.4\n", "Python 3.12.4\n"], "linux_x86_64", None, None),
    ],
)  # fmt: skip
def test_machines_of_every_kind(texts: list[str], platform: str, kind: str | None, driver: str | None) -> None:
    for order in (texts, texts[::-1], ["\n".join(texts)]):
        made = target(*order)
        assert made.tags[0].platform == platform
        assert (made.accelerator and made.accelerator.kind.value) == kind
        assert (made.accelerator and made.accelerator.driver_text) == driver
        assert parse_target(render_target(made)) == made


def test_nvidia_smi_of_windows_beside_texts_of_linux_is_wsl() -> None:
    wsl_kernel = "Linux PC 5.15.133.1-microsoft-standard-WSL2 #1 SMP x86_64 x86_64 x86_64 GNU/Linux\n"
    same = "| NVIDIA-SMI 551.86     Driver Version: 551.86    CUDA Version: 12.4 |\n"
    for texts in ((WINDOWS_SMI, UNAME), (same, wsl_kernel)):
        made = target(*texts, LDD, "Python 3.12.4\n")
        assert (made.system, made.libc) == ("Linux", Libc(name="glibc", version=(2, 35)))
        assert made.accelerator is not None
        assert made.accelerator.driver_system == "Windows"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (SMI, ["the Python version", "the platform", "the C library"]),
        (WINDOWS_SMI, ["the Python version", "the architecture"]),
        ("OS Name: Microsoft Windows 11 Pro\nPython 3.12.4\n", ["the architecture"]),
        ("arm64\nPython 3.12.4\n", ["the platform", "the C library"]),  # a Mac's uname -m, or a Linux' dpkg
        ("Chip: Apple M1\nPython 3.12.4\n", ["the version of macOS"]),
        ("ProductVersion:\t14.5\nPython 3.12.4\n", ["the architecture"]),
        (OS_RELEASE + "Python 3.12.4\n", ["the architecture"]),
        (UNAME + "Python 3.12.4\n", ["the C library"]),
        ("pip 23.3.1 from /usr/lib/python3/dist-packages/pip (python 3.10)\n" + UNAME, ["the C library"]),
        ("Python 3.10.13 (fc59e61cfbff, Jan 15 2024)\n[PyPy 7.3.15 with GCC 10.2.1]\n" + UNAME + LDD,
         ["the Python version"]),
        ("ID=gentoo\nPython 3.12.4\n" + UNAME, ["the C library"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_asked_for_by_name(text: str, missing: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        target(text)
    assert [name for name in caught.value.facts if name != "noticed"] == missing


def test_a_python_known_by_its_minor_version_alone() -> None:
    made = target("pip 9.0.1 from /usr/lib/python3/dist-packages/pip (python 3.6)\n", UNAME, LDD)
    assert made.marker_environment["python_full_version"] == "3.6.0"
    assert made.pip == Version("9.0.1")  # which takes fewer tags than the interpreter
    fuller = target("pip 24.0 from /x (python 3.10)\n", "Python 3.10.12\n", UNAME, LDD)
    assert fuller.marker_environment["python_full_version"] == "3.10.12"
    assert parse_pasted([("a", "pip 24.0 from /x (python 3.10)\n"), ("b", "Python 3.10.12\n")]).notes == ()


def test_a_free_threaded_python_keeps_its_abi() -> None:
    built = "Python 3.13.0 experimental free-threading build (main, Oct  8 2024)\n"
    assert target(built, UNAME, LDD).tags[0].abi == "cp313t"
    assert target(built, UNAME, LDD, python_version="3.13").tags[0].abi == "cp313"


def test_the_orin_is_known_by_its_release_alone() -> None:
    made = target("# R36 (release), REVISION: 4.7, GCID: 1, BOARD: generic\n", LDD, "aarch64\nPython 3.10.12\n")
    assert made.accelerator is not None
    assert made.accelerator.is_older_jetson
    assert [device.compute_capability for device in made.accelerator.devices] == [(8, 7)]
    assert made.learnt_from["accelerator.devices"] == "L4T R36, which runs on Orin alone"
    assert "L4T R36.4.7" in render_summary(made)
    assert not [fact for fact in unknown_facts(made) if fact.startswith("accelerator")]


def test_a_text_in_a_chinese_systems_encoding_or_of_powershell_is_read() -> None:
    text = "OS 名称:          Windows\n系统类型:         x64-based PC\nPython 3.12.4\n"
    for body in (
        text.encode(),
        text.encode("gbk"),
        text.encode("utf-16"),
        text.encode("utf-16-le"),
        text.encode("utf-8-sig"),
    ):
        assert decode_text(body).strip("\ufeff") == text
    assert "\ufffd" in decode_text(b"x\xff\xff\xff")


@given(
    st.lists(
        st.tuples(st.sampled_from([SMI, LDD, OS_RELEASE, WINDOWS_SMI, UNAME]), st.integers(0, 200), st.text(max_size=9))
    )
)
def test_no_mutation_breaks_the_way_to_a_target(pieces: list[tuple[str, int, str]]) -> None:
    text = "\n".join(piece[:at] + put + piece[at:] for piece, at, put in pieces)
    try:
        made = target(text, python_version="3.10", platform="linux_x86_64", glibc="2.35")
    except UsageError as error:
        assert error.code == "nothing-recognised"  # noqa: PT017  (either outcome is right)
    else:
        assert parse_target(render_target(made)) == made
        assert max(map(len, render_summary(made).splitlines())) <= 80 or "\n" in text
