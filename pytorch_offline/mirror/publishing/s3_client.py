"""The S3 protocol by botocore: a client as we want it, and what its errors mean (docs/adr/0016).

botocore finds credentials as every AWS tool does: variables, the profiles of ``~/.aws``, single sign-on, a container's
or an instance's role. Trying again is ours (``object_store.py``), so that it is told and can be broken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# What servers and what lies before them answer when they are busy or a body came damaged: worth another try.
_AGAIN_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_AGAIN_CODES = frozenset(
    {"BadDigest", "IncompleteBody", "InternalError", "OperationAborted", "RequestTimeout", "RequestTimeoutException",
     "ServiceUnavailable", "SlowDown", "Throttling", "XAmzContentSHA256Mismatch"}
)  # fmt: skip
_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER = 10.0, 60.0


class S3Client(Protocol):
    """The calls of S3 that are made, by botocore's names, with S3's own words as arguments."""

    def list_objects_v2(self, **arguments: object) -> Mapping[str, Any]:
        """List one page of objects."""

    def head_object(self, **arguments: object) -> Mapping[str, Any]:
        """Ask what is known of an object."""

    def get_object(self, **arguments: object) -> Mapping[str, Any]:
        """Read an object."""

    def put_object(self, **arguments: object) -> Mapping[str, Any]:
        """Write an object."""

    def copy_object(self, **arguments: object) -> Mapping[str, Any]:
        """Copy an object."""

    def delete_object(self, **arguments: object) -> Mapping[str, Any]:
        """Remove an object."""

    def list_multipart_uploads(self, **arguments: object) -> Mapping[str, Any]:
        """List one page of unfinished uploads."""

    def create_multipart_upload(self, **arguments: object) -> Mapping[str, Any]:
        """Begin an upload."""

    def list_parts(self, **arguments: object) -> Mapping[str, Any]:
        """List one page of what came of an upload."""

    def upload_part(self, **arguments: object) -> Mapping[str, Any]:
        """Send a part."""

    def complete_multipart_upload(self, **arguments: object) -> Mapping[str, Any]:
        """End an upload: the object is there."""

    def abort_multipart_upload(self, **arguments: object) -> Mapping[str, Any]:
        """Forget an upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the bucket is and how it is reached; None leaves it to AWS's own settings and variables.

    Args:
        url: of an S3-compatible server, http or https; a bucket is then a path below it.
        region: e.g. ``eu-central-1``.
        profile: a section of ``~/.aws/config``.
        proxy: for all requests.
        cert: certificates to trust, a PEM file, in place of botocore's.
        client_cert: our own certificate and key, a PEM file.
        unchecked: whether the server's certificate goes unchecked.
        timeout: seconds to wait for a connection and for an answer.
        connections: how many at once.
    """

    url: str | None = None
    region: str | None = None
    profile: str | None = None
    proxy: str | None = None
    cert: Path | None = None
    client_cert: Path | None = None
    unchecked: bool = False
    timeout: float | None = None
    connections: int = 10


def connect(endpoint: Endpoint) -> tuple[S3Client, str]:
    """Make a client, safe for many threads, and give the address of its server.

    Raises:
        UsageError: ``no-botocore`` without botocore; ``bad-destination`` for settings that botocore refuses;
            ``no-credentials`` where there are none.
    """
    try:
        import botocore.session  # noqa: PLC0415  (an extra; and a third of a second)
        import urllib3  # noqa: PLC0415  (botocore's, as ours)
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
        from botocore.handlers import add_expect_header  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "no-botocore",
            "publishing to a bucket needs botocore, which is not installed",
            hint="pip install 'pytorch-offline[s3]'",
        ) from error

    def config(addressing: str) -> Config:
        return Config(
            retries={"total_max_attempts": 1},
            max_pool_connections=endpoint.connections,
            connect_timeout=endpoint.timeout or _SECONDS_TO_CONNECT,
            read_timeout=endpoint.timeout or _SECONDS_TO_ANSWER,
            proxies=None if endpoint.proxy is None else dict.fromkeys(("http", "https"), endpoint.proxy),
            client_cert=None if endpoint.client_cert is None else str(endpoint.client_cert),
            # The newer checksums break many compatible servers (boto/boto3#4392); every server that checks a signature
            # checks the sha256 of the body that is part of it.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"payload_signing_enabled": True, "addressing_style": addressing},
        )

    try:
        session = botocore.session.Session(profile=endpoint.profile)
        region = endpoint.region or session.get_config_variable("region") or "us-east-1"
        chosen = (session.get_scoped_config().get("s3") or {}).get("addressing_style")
        make = partial(
            session.create_client,
            "s3",
            region_name=region,
            endpoint_url=endpoint.url,
            verify=False if endpoint.unchecked else None if endpoint.cert is None else str(endpoint.cert),
        )
        client = make(config=config(chosen or ("auto" if endpoint.url is None else "path")))
        address = str(client.meta.endpoint_url)
        if chosen is None and endpoint.url is None and not _is_aws(address):  # another server, by a setting of AWS's
            client = make(config=config("path"))  # few of them have a host name for each bucket
        if session.get_credentials() is None:
            raise UsageError(
                "no-credentials",
                "there are no credentials for the bucket",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with --profile",
            )
    except (BotoCoreError, ValueError) as error:
        raise UsageError("bad-destination", f"the bucket cannot be reached as asked: {_said(error)}") from error
    if endpoint.unchecked:
        urllib3.disable_warnings(
            urllib3.exceptions.InsecureRequestWarning
        )  # it was asked for, and would be said each time
    # Whoever sends a part waits a second for a server that does not say that it may come, and many do not.
    for operation in ("PutObject", "UploadPart"):
        client.meta.events.unregister(f"before-call.s3.{operation}", add_expect_header)
    return cast("S3Client", client), address


def readers_address(endpoint: str, bucket: str) -> str:
    """Give the address at which a bucket's objects are read, as far as its endpoint tells."""
    parts = urlsplit(endpoint)
    if _is_aws(endpoint) and "." not in bucket:
        return f"{parts.scheme}://{bucket}.{parts.netloc}"
    return f"{endpoint.rstrip('/')}/{bucket}"


def _is_aws(address: str) -> bool:
    return (urlsplit(address).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What a failed call means.

    Args:
        error: ours.
        code: S3's word for it, or a number of HTTP's.
        again: whether another try may succeed.
        connecting: whether nothing answered at all.
        retry_after: what the server asked for.
    """

    error: PytorchOfflineError
    code: str
    again: bool = False
    connecting: bool = False
    retry_after: str | None = None


class Refused(Exception):  # noqa: N818  (becomes one of ours, or is expected)
    """A call failed for good."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.error.message)
        self.trouble = trouble


def read_trouble(error: Exception, what: str, name: str) -> Trouble:
    """Say what went wrong about ``what``, of the destination ``name``.

    Raises:
        Exception: ``error``, if it is none of botocore's.
    """
    from botocore import exceptions  # noqa: PLC0415  (it is there: it raised this)

    facts = {"destination": name, "reason": _said(error)}
    if isinstance(error, exceptions.ClientError):
        answer = error.response
        said = answer.get("Error", {})
        code = str(said.get("Code", ""))
        facts["reason"] = ": ".join(filter(None, (code, " ".join(str(said.get("Message", "")).split())[:300])))
        meta = answer.get("ResponseMetadata", {})
        status = int(meta.get("HTTPStatusCode", 0))
        facts["status"] = str(status)
        return Trouble(
            error=_refusal(code, status, what, name, facts),
            code=code,
            # CompleteMultipartUpload answers 200 and says in the body what went wrong
            again=status in _AGAIN_STATUS or code in _AGAIN_CODES,
            retry_after=meta.get("HTTPHeaders", {}).get("retry-after"),
        )
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        incomplete = UsageError("no-credentials", "the bucket's credentials are incomplete", facts=facts)
        return Trouble(error=incomplete, code="")
    if isinstance(error, exceptions.SSLError):
        hint = "--cert names the certificate of its authority, a PEM file"
        text = f"the certificate of {name} is not trusted"
        return Trouble(error=UpstreamError("tls-error", text, facts=facts, hint=hint), code="")
    connecting = isinstance(
        error, (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError, exceptions.ProxyConnectionError)
    )
    if connecting or isinstance(error, (exceptions.HTTPClientError, exceptions.IncompleteReadError)):
        code = "unreachable" if connecting else "store-failed"
        failed = UpstreamError(code, f"{what} failed at {name}: {_said(error)}", facts=facts)
        return Trouble(error=failed, code="", again=True, connecting=connecting)
    if isinstance(error, exceptions.BotoCoreError):
        return Trouble(error=UpstreamError("store-failed", f"{what} failed at {name}: {_said(error)}"), code="")
    raise error


def _refusal(code: str, status: int, what: str, name: str, facts: Mapping[str, object]) -> PytorchOfflineError:
    match code:
        case "NoSuchBucket":
            return UsageError("no-bucket", f"there is no bucket at {name}", facts=facts)
        case "RequestTimeTooSkewed":
            hint = "set this machine's clock"
            return UpstreamError("store-refused", "this machine's clock and the store's differ", facts=facts, hint=hint)
    if status in {401, 403}:
        hint = (
            "the credentials must allow to list, read, write and, for --delete, delete objects there (docs/serving.md)"
        )
        return UpstreamError("store-refused", f"{what} is not allowed at {name}", facts=facts, hint=hint)
    return UpstreamError("store-failed", f"{what} failed at {name}: {facts['reason']}", facts=facts)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
