"""``sbom.cdx.json``: the bundle as a CycloneDX 1.6 document, by CycloneDX's own library (an extra: ``bundle``).

The same manifest gives the same bytes: the serial number is made of the bundle's id, the time is the bundle's date.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from pytorch_offline import __version__
from pytorch_offline.addresses import without_credentials
from pytorch_offline.bundle.writing.contents import visible
from pytorch_offline.bundle.writing.licences import WheelTerms
from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cyclonedx.model import HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression

    from pytorch_offline.bundle.format.model import BundleFile, LockedWheel, Manifest, TargetLock, Tool

SBOM_NAME = "sbom.cdx.json"
_PROPERTY = "pytorch-offline:"
# Of this tool, for serial numbers: uuid5 of the DNS name space and its name.
_SERIALS = uuid.uuid5(uuid.NAMESPACE_DNS, "pytorch-offline")


def has_cyclonedx() -> bool:
    """Whether the library is installed."""
    try:
        import cyclonedx.model.bom  # noqa: F401, PLC0415  (an extra, and slow to import)
    except ImportError:
        return False
    return True


def require_cyclonedx() -> None:
    """Insist on the library.

    Raises:
        UsageError: ``no-cyclonedx``.
    """
    if not has_cyclonedx():
        raise UsageError(
            "no-cyclonedx",
            "An SBOM is made by CycloneDX's own library, which is not installed.",
            hint="pip install 'pytorch-offline[bundle]'",
        )


def render_sbom(manifest: Manifest, terms: Mapping[str, WheelTerms]) -> bytes:
    """Render the document from a manifest and each wheel's terms, by its path."""
    from cyclonedx.output import make_outputter  # noqa: PLC0415
    from cyclonedx.schema import OutputFormat, SchemaVersion  # noqa: PLC0415

    writer = make_outputter(_document(manifest, terms), OutputFormat.JSON, SchemaVersion.V1_6)
    return (writer.output_as_string(indent=2) + "\n").encode("utf-8")


def _document(manifest: Manifest, terms: Mapping[str, WheelTerms]) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from cyclonedx.model.tool import ToolRepository  # noqa: PLC0415

    files = {file.path: file for file in manifest.files}
    locked = {wheel.path: wheel for target in manifest.targets for wheel in target.wheels if wheel.path in files}
    wheels = {
        path: _wheel_component(files[path], wheel, terms.get(path, WheelTerms()))
        for path, wheel in sorted(locked.items())
    }
    targets = {target.target: _target_component(target) for target in manifest.targets}
    tools = [
        _tool_component(files[tool.path], tool, terms.get(tool.path, WheelTerms()))
        for tool in manifest.tools
        if tool.path in files
    ]
    root = Component(
        name="pytorch-offline-bundle",
        type=ComponentType.APPLICATION,
        version=str(manifest.counter),
        bom_ref=f"bundle:{manifest.id}",
        description="Wheels of PyTorch and of what it needs, locked for the targets named here",
        properties=_properties({"id": manifest.id, "lineage": manifest.lineage, "base": manifest.base}),
    )
    own = Component(
        name="pytorch-offline", type=ComponentType.APPLICATION, version=__version__, bom_ref="pytorch-offline"
    )
    bom = Bom(
        serial_number=uuid.uuid5(_SERIALS, f"{manifest.id} {manifest.base or ''}"),
        components=[*wheels.values(), *targets.values(), *tools],
        metadata=BomMetaData(
            component=root,
            timestamp=datetime.fromisoformat(manifest.created),
            tools=ToolRepository(components=[own]),
        ),
    )
    bom.register_dependency(root, [*targets.values(), *tools])
    needs: dict[str, set[str]] = {path: set() for path in wheels}
    for target in manifest.targets:
        paths = {wheel.project: wheel.path for wheel in target.wheels if wheel.path in wheels}
        bom.register_dependency(targets[target.target], [wheels[path] for path in sorted(paths.values())])
        for wheel in target.wheels:
            needs.get(wheel.path, set()).update(paths[project] for project in wheel.needs if project in paths)
    for path, needed in needs.items():
        bom.register_dependency(wheels[path], [wheels[other] for other in sorted(needed)])
    return bom


def _wheel_component(file: BundleFile, wheel: LockedWheel, terms: WheelTerms) -> Component:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from cyclonedx.model.contact import OrganizationalContact  # noqa: PLC0415
    from packageurl import PackageURL  # noqa: PLC0415

    row = file.row or {}
    origin = visible(without_credentials(str(row.get("origin") or "")))
    filename = file.path.rpartition("/")[2]
    qualifiers = {"file_name": filename, **({"download_url": origin} if origin else {})}
    links = [(ExternalReferenceType.DISTRIBUTION, origin), (ExternalReferenceType.WEBSITE, visible(terms.homepage))]
    return Component(
        name=wheel.project,
        version=wheel.version,
        type=ComponentType.LIBRARY,
        bom_ref=file.path,
        description=visible(terms.summary) or None,
        authors=[OrganizationalContact(name=visible(terms.author))] if terms.author else None,
        hashes=[_sha256(file)],
        licenses=list(_licences(terms)),
        purl=PackageURL("pypi", None, wheel.project, wheel.version, qualifiers),
        external_references=[
            ExternalReference(type=kind, url=XsUri(address), hashes=[_sha256(file)] if address == origin else ())
            for kind, address in links
            if address.startswith(("https://", "http://")) and " " not in address
        ],
        properties=_properties(
            {
                "path": file.path,
                "size": str(file.size),
                "hash-origin": str(row.get("hash_origin") or ""),
                "carried": "yes" if file.carried else "no",
                "nvidia-proprietary": "yes" if terms.by_nvidia and terms.proprietary else None,
                "nvidia-libraries": ", ".join(terms.nvidia_libraries) or None,
            }
        ),
    )


def _target_component(target: TargetLock) -> Component:
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

    return Component(
        name=target.target,
        type=ComponentType.PLATFORM,
        bom_ref=f"target:{target.target}",
        description=f"{target.implementation} {target.python} on {target.system} {target.machine}",
        properties=_properties(
            {"backend": target.backend, "glibc": target.glibc, "cuda": target.cuda.cuda if target.cuda else None}
        ),
    )


def _tool_component(file: BundleFile, tool: Tool, terms: WheelTerms) -> Component:
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from packageurl import PackageURL  # noqa: PLC0415

    return Component(
        name=tool.name,
        version=tool.version,
        type=ComponentType.APPLICATION,
        bom_ref=file.path,
        description=visible(terms.summary) or None,
        licenses=list(_licences(terms)),
        hashes=[_sha256(file)],
        purl=PackageURL("pypi", None, tool.name, tool.version, {"file_name": file.path.rpartition("/")[2]}),
        properties=_properties({"path": file.path, "size": str(file.size)}),
    )


def _sha256(file: BundleFile) -> HashType:
    from cyclonedx.model import HashAlgorithm, HashType  # noqa: PLC0415

    return HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)


def _licences(terms: WheelTerms) -> Iterator[LicenseExpression | DisjunctiveLicense]:
    """Give an expression alone, as the schema wants it, or else names: a licence in SPDX's list by its id."""
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression  # noqa: PLC0415
    from cyclonedx.spdx import is_supported_id  # noqa: PLC0415

    if terms.expression is not None:
        try:
            expression = canonicalize_license_expression(terms.expression)
        except InvalidLicenseExpression:
            yield DisjunctiveLicense(name=visible(terms.expression))
        else:
            known = is_supported_id(expression)
            yield DisjunctiveLicense(id=expression) if known else LicenseExpression(expression)
        return
    for name in dict.fromkeys(filter(None, (terms.licence, *terms.classifiers))):
        yield DisjunctiveLicense(id=name) if is_supported_id(name) else DisjunctiveLicense(name=visible(name))


def _properties(values: Mapping[str, str | None]) -> list[Property]:
    from cyclonedx.model import Property  # noqa: PLC0415

    return [Property(name=_PROPERTY + name, value=visible(value)) for name, value in values.items() if value]
