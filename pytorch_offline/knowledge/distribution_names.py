"""How people, /etc/os-release and registries spell distributions and container images, brought to one spelling.

Everything here takes and gives text; which C library stands behind a name is ``knowledge.glibc``'s.
"""

from __future__ import annotations

import re

# Ubuntu's and Debian's releases are as well known by their names (wiki.ubuntu.com/Releases, wiki.debian.org).
CODE_NAMES = {
    "trusty": "ubuntu:14.04",
    "xenial": "ubuntu:16.04",
    "bionic": "ubuntu:18.04",
    "focal": "ubuntu:20.04",
    "impish": "ubuntu:21.10",
    "jammy": "ubuntu:22.04",
    "kinetic": "ubuntu:22.10",
    "lunar": "ubuntu:23.04",
    "mantic": "ubuntu:23.10",
    "noble": "ubuntu:24.04",
    "oracular": "ubuntu:24.10",
    "plucky": "ubuntu:25.04",
    "questing": "ubuntu:25.10",
    "resolute": "ubuntu:26.04",
    "jessie": "debian:8",
    "stretch": "debian:9",
    "buster": "debian:10",
    "bullseye": "debian:11",
    "bookworm": "debian:12",
    "trixie": "debian:13",
}
# Long names (PRETTY_NAME of /etc/os-release, first line of /etc/redhat-release), image families, and what the table
# calls them. Matched at the start of a name in lower case.
_LONG_NAMES = (
    (r"red ?hat enterprise linux(?: server| workstation)?", "rhel"),
    (r"suse linux enterprise [a-z ]+?(?= *[0-9])", "sles"),
    (r"(?:suse/)?sle[sd]?(?=1[25]:)1[25]", "sles"),  # registry images: suse/sle15:15.5
    (r"kylin linux advanced server|银河麒麟(?:高级服务器操作系统)?", "kylin"),
    (r"(?:uniontech os|统信)(?: server| desktop)?|统信uos", "uos"),
    (r"alibaba cloud linux|aliyun linux|alios", "alinux"),
    (r"huawei cloud euleros", "hce"),
    (r"tencentos(?: server)?", "tencentos"),
    (r"龙蜥(?:操作系统)?|anolis ?os", "anolis"),
    (r"欧拉(?:操作系统)?", "openeuler"),
    (r"raspberry pi os", "raspbian"),
    (r"vmware photon(?: os)?", "photon"),
    (r"pop!_os", "pop"),
    (r"alt (?:workstation|server|linux)", "alt"),
    (r"common base linux mariner", "cbl-mariner"),
    (r"amazon linux ami|amazonlinux:2018\b", "amazonlinux:1"),
)
# The ID field of /etc/os-release and what else the squashed names of the table are called.
_SYNONYMS = {
    "ol": "oracle",
    "el": "rhel",
    "redhat": "rhel",
    "amzn": "amazon",
    "amazonlinuxami": "amazon",
    "slessap": "sles",
    "sled": "sles",
    "uniontech": "uos",
    "anolisos": "anolis",
    "mariner": "cblmariner",
    "altlinux": "alt",
}
_WHOLE_SYNONYMS = {"centos9": "centosstream9", "centos10": "centosstream10"}
# Words that distinguish nothing. "Stream" stays: CentOS Stream is another system than CentOS.
_WORDS = re.compile(r"\b(?:gnu/linux|linux|server|release|lts|os|slim|minimal|init|micro)\b|!_")
_SERVICE_PACK = re.compile(r"(?<=[0-9])[- ]?sp(?=[0-9])")
_EULER_SERVICE_PACK = re.compile(r"[- ]?lts[- ]?sp[0-9]+")
_PARENTHESES = re.compile(r"\s*\([^)]*\)")
_DIGEST = re.compile(r"@sha(?:256|512):[0-9a-f]+$")
_DATE = re.compile(r"[-.](?:20[0-9]{6})(?:\.[0-9]+)?(?=-|$)")
_ARCH_NAMESPACES = {"amd64": "x86_64", "arm64v8": "aarch64", "arm64": "aarch64", "ppc64le": "ppc64le"}
_ARCH_IN_NAME = re.compile(r"_(x86_64|aarch64|ppc64le|s390x|i686|armv7l)(?::|$)")
# py3.10, python3.9.18, py310, python-311; "py3" alone says nothing.
_PYTHON_IN_TAG = re.compile(
    r"(?<![a-z])(?:python|py|cp)[-_:]?3(?:\.([0-9]{1,2}(?:\.[0-9]{1,2})?)|([0-9]{1,2}))(?![0-9])"
)
_DISTRIBUTION_IN_TAG = re.compile(
    r"(?<![a-z0-9])(ubuntu|debian|ubi|rockylinux|almalinux|oraclelinux|amazonlinux|centos|fedora|rhel|el|alpine)"
    r"[-_]?([0-9]+(?:\.[0-9]+)*)"
)


def plain_name(name: str) -> str:
    """Bring a name to lower case, without what only says where to fetch it: scheme, digest, date of the build."""
    plain = " ".join(name.lower().split()).removeprefix("docker://")
    return _DATE.sub("", _DIGEST.sub("", plain))


def image_names(plain: str) -> list[str]:
    """List a name with and without its leading registry, namespace and proxy folders, the longest first."""
    parts = plain.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))] if "gnu/linux" not in plain else [plain]


def architecture_of(plain: str) -> str | None:
    """Read the architecture that an image's name or namespace fixes: ``arm64v8/ubuntu``, ``manylinux2014_aarch64``."""
    named = _ARCH_IN_NAME.search(plain)
    spaces = [_ARCH_NAMESPACES[part] for part in plain.split("/")[:-1] if part in _ARCH_NAMESPACES]
    return named[1] if named else spaces[0] if spaces else None


def python_of(plain: str) -> str | None:
    """Read the Python that an image's name or tag states, ``3.10`` or ``3.10.12``."""
    found = _PYTHON_IN_TAG.search(plain)
    return f"3.{found[1] or found[2]}" if found else None


def squashed(name: str) -> str:
    """Spell a name without what differs between spellings: case, separators, the word Linux."""
    return re.sub(r"[^a-z0-9.]", "", name.lower()).replace("linux", "").strip(".")


def _shorter(key: str) -> list[str]:
    """List a key and what is left of it without its last numbers: ``rocky9.3``, ``rocky9``."""
    keys = [key]
    while "." in keys[-1]:
        keys.append(keys[-1].rsplit(".", 1)[0])
    return keys


def lookup_keys(plain: str) -> list[str]:
    """List the squashed keys under which a name may stand in the table, the most exact first."""
    coded = re.fullmatch(r"(?:ubuntu|debian)?[:/ -]*([a-z]+)(?:[- ](?:slim|backports|updates|minimal))*", plain)
    if coded and coded[1] in CODE_NAMES:
        return [squashed(CODE_NAMES[coded[1]])]
    spelt = _PARENTHESES.sub("", plain).strip()
    for pattern, short in _LONG_NAMES:
        if found := re.match(pattern, spelt):
            spelt = short + spelt[found.end() :]
            break
    spelt = _SERVICE_PACK.sub(".", _EULER_SERVICE_PACK.sub("", spelt))
    keys: list[str] = []
    name = ""
    for text in (spelt, spelt.partition(":")[0]):
        key = squashed(_WORDS.sub("", re.sub(r"(?<=[0-9])[- ][a-z][a-z -]*$", "", text)))
        key = re.sub(r"^([a-z]{3,})\1", r"\1", key)  # "centos:centos7", "rockylinux/rockylinux:9"
        head = re.match(r"[a-z]*", key)
        name = head[0] if head else ""
        key = _SYNONYMS.get(name, name) + key[len(name) :]
        for shorter in _shorter(key):
            keys += [_WHOLE_SYNONYMS.get(shorter, shorter), re.sub(r"^([a-z]+)v(?=[0-9])", r"\1", shorter)]
    keys.append(name.removesuffix("v"))  # alone it stands for every release: "alpine"
    return list(dict.fromkeys(key for key in keys if key))


def names_in_tag(plain: str) -> list[str]:
    """List the distributions that the tag of somebody's image names: ``rocm6.2_ubuntu22.04``, ``1-bookworm``."""
    image = plain.rpartition("/")[2]
    found = [f"{name}{version}" for name, version in _DISTRIBUTION_IN_TAG.findall(image)]
    tokens = re.split(r"[^a-z0-9]+", image)
    found += [CODE_NAMES[word] for word in tokens if word in CODE_NAMES]
    found += [part for part in plain.split("/")[:-1] if re.fullmatch(r"ubi(?:[789]|10)", part)]
    if "l4t" in plain or "jetson" in plain or "dustynv/" in plain:
        found += [f"l4t{release}" for release in re.findall(r"(?<![a-z0-9])r(?:3[2-9])(?=[.-]|$)", image)]
    return found
