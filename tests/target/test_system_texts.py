"""Every shape in which people show a system and its interpreter, each read without a look at this machine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytorch_offline.target.system_texts import SystemFacts, parse_system

COLLECTED = """Collecting environment information...
PyTorch version: 2.1.0+cu121
Is debug build: False
CUDA used to build PyTorch: 12.1
ROCM used to build PyTorch: N/A

OS: Ubuntu 22.04.3 LTS (x86_64)
GCC version: (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0
Libc version: glibc-2.35

Python version: 3.10.12 (main, Jun 11 2023, 05:26:28) [GCC 11.4.0] (64-bit runtime)
Python platform: Linux-5.15.0-86-generic-x86_64-with-glibc2.35
Is CUDA available: True
CUDA runtime version: 12.1.105
"""
OLD_COLLECTED = """PyTorch version: 1.7.1
CUDA used to build PyTorch: 10.2

OS: Ubuntu 18.04.5 LTS (x86_64)
Libc version: glibc-2.10

Python version: 3.7 (64-bit runtime)
Python platform: Linux-4.15.0-112-generic-x86_64-with-debian-buster-sid
"""
CONDA_INFO = """
     active environment : {active}
    active env location : /opt/conda
          conda version : 23.11.0
         python version : 3.11.5.final.0
                 solver : libmamba (default)
       virtual packages : __archspec=1=skylake
                          __conda=23.11.0=0
                          __cuda=12.2=0
                          __glibc=2.35=0
                          __linux=5.15.0=0
                          __unix=0=0
               platform : linux-64
"""
CONDA_LIST = """# packages in environment at /home/u/miniconda3/envs/torch:
#
# Name                    Version                   Build  Channel
_libgcc_mutex             0.1                 conda_forge    conda-forge
python                    3.10.13         hd12c33a_0_cpython    conda-forge
python_abi                3.10                    4_cp310    conda-forge
"""
LSB = "Distributor ID:\tUbuntu\nDescription:\tUbuntu 20.04.6 LTS\nRelease:\t20.04\nCodename:\tfocal\n"
HOSTNAMECTL = """   Static hostname: node
  Operating System: Rocky Linux 9.3 (Blue Onyx)
            Kernel: Linux 5.14.0-362.8.1.el9_3.x86_64
      Architecture: x86-64
"""
SYSTEMINFO = """Host Name:                 WORKSTATION
OS Name:                   Microsoft Windows 11 Pro
OS Version:                10.0.22631 N/A Build 22631
System Type:               x64-based PC
"""
SYSTEMINFO_ZH = """主机名:           WORKSTATION
OS 名称:          Microsoft Windows 10 专业版
OS 版本:          10.0.19045 暂缺 Build 19045
系统类型:         x64-based PC
"""
PROFILER = """Software:
    System Software Overview:
      System Version: macOS 14.5 (23F79)
      Kernel Version: Darwin 23.5.0
Hardware:
    Hardware Overview:
      Model Name: MacBook Pro
      Chip: Apple M1 Pro
"""
DARWIN = (
    "Darwin mac.local 23.5.0 Darwin Kernel Version 23.5.0: Wed May  1 20:12:58 PDT 2024; "
    "root:xnu-10063.121.3~5/RELEASE_ARM64_T6000 arm64\n"
)
KYLIN = 'NAME="Kylin Linux Advanced Server"\nVERSION="V10 (Tercel)"\nID="kylin"\nVERSION_ID="V10"\n'


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("ldd (Ubuntu GLIBC 2.35-0ubuntu3.8) 2.35\nCopyright (C) 2022\n",
         {"libc": ("glibc", "2.35"), "system": "Linux"}),
        ("ldd (GNU libc) 2.17\n版权所有 (C) 2012 Free Software Foundation, Inc.\n", {"libc": ("glibc", "2.17")}),
        ("ldd (Debian GLIBC 2.36-9+deb12u4) 2.36\nCopyright (C) 2022\nDies ist freie Software;\n",
         {"libc": ("glibc", "2.36")}),
        ("ldd \uff08GNU libc\uff09 2.28\n", {"libc": ("glibc", "2.28")}),
        ("user@node:~$ ldd --version\nldd (GNU libc) 2.34\n", {"libc": ("glibc", "2.34")}),
        ("musl libc (x86_64)\nVersion 1.2.4\nDynamic Program Loader\n", {"libc": ("musl", "1.2"), "machine": "x86_64"}),
        ("musl libc (aarch64)\nVersion 1.2.4\n", {"machine": "aarch64"}),
        ("$ getconf GNU_LIBC_VERSION\nglibc 2.31\n", {"libc": ("glibc", "2.31")}),
        ("GNU C Library (Ubuntu GLIBC 2.27-3ubuntu1.6) stable release version 2.27.\n", {"libc": ("glibc", "2.27")}),
        ("glibc-2.17-326.el7_9.x86_64\n", {"libc": ("glibc", "2.17"), "machine": "x86_64"}),
        ("ii  libc6:amd64  2.35-0ubuntu3.4 amd64  GNU C Library\n", {"libc": ("glibc", "2.35")}),
        ("ldd: missing file arguments\n", {"libc": None}),
        # /etc/os-release and its relatives
        ('NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n', {"distributions": ("ubuntu:22.04",)}),
        ('ID="rocky"\nVERSION_ID="9.3"\nPLATFORM_ID="platform:el9"\n', {"distributions": ("rocky:9.3", "el9")}),
        ('ID=linuxmint\nVERSION_ID="21.2"\nUBUNTU_CODENAME=jammy\n', {"distributions": ("linuxmint:21.2", "jammy")}),
        ("ID=arch\n", {"distributions": ("arch:",), "system": "Linux"}),
        (KYLIN, {"distributions": ("kylin:V10",)}),
        ('NAME="Kylin"\nVERSION_ID="v10"\nID=kylin\n', {"distributions": ()}),  # the desktop edition
        ('DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\nDISTRIB_DESCRIPTION="Ubuntu 22.04.3 LTS"\n',
         {"distributions": ("Ubuntu 22.04.3 LTS",)}),
        (LSB, {"distributions": ("Ubuntu 20.04.6 LTS",)}),
        (HOSTNAMECTL, {"distributions": ("Rocky Linux 9.3 (Blue Onyx)",), "machine": "x86_64"}),
        ("CentOS Linux release 7.9.2009 (Core)\n", {"distributions": ("CentOS Linux release 7.9.2009 (Core)",)}),
        ("Ubuntu 22.04.3 LTS \\n \\l\n", {"distributions": ("Ubuntu 22.04.3 LTS",)}),
        # the interpreter
        ("Python 3.10.12\n", {"python": "3.10.12", "system": None}),
        ("$ python3 -V\nPython 3.13.0rc2\n", {"python": "3.13.0rc2"}),
        ('Python 3.10.12 (main, Nov 20 2023, 15:14:05) [GCC 11.4.0] on linux\nType "help"\n', {"python": "3.10.12"}),
        ("Python 3.12.1 | packaged by Anaconda, Inc. | (main, Jan 19 2024, 15:51:05)\n",
         {"python": "3.12.1", "conda": True}),
        ("Python 3.13.0 experimental free-threading build (main, Oct  8 2024)\n",
         {"python": "3.13.0", "free_threaded": True}),
        ("Python 3.14.0 free-threading build (main)\n", {"free_threaded": True}),
        ("Python 3.10.13 (fc59e61cfbff, Jan 15 2024)\n[PyPy 7.3.15 with GCC 10.2.1]\n", {"pypy": True}),
        ("Python 2.7.18\n", {"python": None}),
        ("pip 23.3.1 from /usr/lib/python3/dist-packages/pip (python 3.10)\n", {"python": "3.10", "pip": "23.3.1"}),
        ("pip 9.0.1 from /usr/lib/python2.7/site-packages (python 2.7)\n", {"python": None, "pip": None}),
        (CONDA_INFO.format(active="base"),
         {"python": "3.11.5", "libc": ("glibc", "2.35"), "machine": "x86_64", "system": "Linux", "conda": True}),
        (CONDA_INFO.format(active="torch"), {"python": None, "libc": ("glibc", "2.35")}),
        (CONDA_LIST, {"python": "3.10.13", "conda": True, "free_threaded": False}),
        ("python  3.13.1  h9a34b6e_2_cp313t  conda-forge\n", {"python": "3.13.1", "free_threaded": True}),
        (COLLECTED, {"python": "3.10.12", "libc": ("glibc", "2.35"), "machine": "x86_64",
                     "distributions": ("Ubuntu 22.04.3 LTS (x86_64)",)}),
        # platform.libc_ver() before 3.8 reads the interpreter, not the C library
        (OLD_COLLECTED, {"python": "3.7", "libc": None, "machine": "x86_64"}),
        # the machine
        ("Linux gpu 5.15.0-91-generic #101-Ubuntu SMP x86_64 x86_64 x86_64 GNU/Linux\n",
         {"machine": "x86_64", "wsl": False}),
        ("Linux a 6.1.0 #1 SMP PREEMPT_DYNAMIC x86_64 Linux\n", {"machine": "x86_64", "system": "Linux"}),
        ("Linux PC 5.15.133.1-microsoft-standard-WSL2 #1 SMP x86_64 x86_64 x86_64 GNU/Linux\n", {"wsl": True}),
        ("Linux orin 5.15.136-tegra #1 SMP PREEMPT aarch64 aarch64 aarch64 GNU/Linux\n", {"machine": "aarch64"}),
        ("Linux n 3.10.0-1160.el7.x86_64 #1 SMP Mon Oct 19 16:18:59 UTC 2020 x86_64 x86_64 x86_64 GNU/Linux\n",
         {"machine": "x86_64"}),
        ("aarch64\n", {"machine": "aarch64", "system": None}),
        ("Architecture:                    aarch64\nCPU op-mode(s):  64-bit\n", {"machine": "aarch64"}),
        ("架构\uff1a x86_64\n", {"machine": "x86_64"}),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  375.74  Wed\n", {"machine": "x86_64"}),
        # Windows
        (SYSTEMINFO, {"system": "Windows", "machine": "x86_64"}),
        (SYSTEMINFO_ZH, {"system": "Windows", "machine": "x86_64"}),
        ("System Type:  ARM64-based PC\n", {"system": "Windows", "machine": "arm64"}),
        ("Microsoft Windows [Version 10.0.19045.3693]\n", {"system": "Windows", "machine": None}),
        ("Microsoft Windows [版本 10.0.22631.4317]\n", {"system": "Windows"}),
        ("PROCESSOR_ARCHITECTURE=AMD64\n", {"system": "Windows", "machine": "x86_64"}),
        ("AMD64\n", {"system": "Windows", "machine": "x86_64"}),
        ("|   0  NVIDIA GeForce RTX 3060      WDDM  |   00000000:01:00.0  On |   N/A |\n", {"system": "Windows"}),
        ("OS: Microsoft Windows 11 Home (10.0.22631 64-bit)\n", {"system": "Windows", "distributions": ()}),
        # macOS
        ("ProductName:\t\tmacOS\nProductVersion:\t\t14.5\nBuildVersion:\t\t23F79\n",
         {"macos": "14.5", "system": "Darwin"}),
        (PROFILER, {"macos": "14.5", "machine": "arm64", "system": "Darwin"}),
        ("      Chipset Model: Apple M2\n", {"machine": "arm64"}),
        ("      Processor Name: 6-Core Intel Core i7\n", {"machine": "x86_64"}),
        (DARWIN, {"macos": "14.0", "machine": "arm64", "system": "Darwin"}),
        (DARWIN.replace("23.5.0", "25.0.0"), {"macos": "26.0"}),
        ("OS: macOS 14.1 (arm64)\nPython platform: macOS-14.1-arm64-arm-64bit\n",
         {"macos": "14.1", "machine": "arm64"}),
        # shown, never used
        ("Cuda compilation tools, release 13.4, V13.4.92\n", {"nvcc": "13.4", "system": None}),
    ],
)  # fmt: skip
def test_each_shape_says_what_it_says(text: str, facts: dict[str, Any]) -> None:
    seen = parse_system("text", text)
    assert {name: getattr(seen, name) for name in facts} == facts


@pytest.mark.parametrize("text", ["hello\n", "", "Model name: Intel(R) Xeon(R)\nProduct Name: X\n", "Python\n", "ID\n"])
def test_what_says_nothing_is_read_as_nothing(text: str) -> None:
    assert parse_system("text", text) == SystemFacts(source="text")


SAMPLES = (COLLECTED, CONDA_INFO, CONDA_LIST, SYSTEMINFO, PROFILER, DARWIN, KYLIN)
PIECES = [line for text in SAMPLES for line in text.splitlines()]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text()), max_size=12).map("\n".join))
def test_no_text_breaks_the_reader(text: str) -> None:
    parse_system("text", text)


@given(st.sampled_from(PIECES), st.integers(0, 120), st.integers(0, 120), st.text(max_size=3))
def test_no_mutation_of_a_true_line_breaks_the_reader(line: str, start: int, end: int, put: str) -> None:
    parse_system("text", line[:start] + put + line[end:])
