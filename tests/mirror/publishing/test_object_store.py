"""What is particular to buckets: headers, keys, parts that were left, and a store that misbehaves."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
import requests

from pytorch_offline.errors import PytorchOfflineError, UpstreamError, UsageError
from pytorch_offline.mirror.progress import Silent
from pytorch_offline.mirror.publishing import object_store
from pytorch_offline.mirror.publishing.object_store import ObjectStoreDestination
from pytorch_offline.mirror.publishing.s3_client import Endpoint, connect, readers_address
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.mirror.workers import Stop, Stopped
from pytorch_offline.retries import RetryPolicy
from tests.mirror.loopback import sized_wheel
from tests.mirror.publishing.stores import Fault, connected, make_bucket, putting
from tests.mirror.publishing.test_publish import public, publish
from tests.mirror.wheels import SYMPY

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.mirror.publishing.model import PublishReport
    from tests.mirror.publishing.stores import Bucket, Proxy

# A wheel of some four parts.
PART = 64 * 1024
LARGE = sized_wheel("whl/cu121/torch-3.0+cu121-py3-none-any.whl", 200_000)
LARGE_KEY = f"pre/fix/{LARGE.path}"


pytest.importorskip("moto.server")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_PART", PART)
    monkeypatch.setattr(object_store, "_MIB", 1024)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", PART)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mirror = Mirror(tmp_path / "mirror")
    LARGE.admit(mirror)
    mirror.publish()
    return mirror.root


def send(root: Path, bucket: Bucket, proxy: Proxy | None = None, **wishes: object) -> PublishReport:
    return publish(root, bucket.destination(Silent(), url=None if proxy is None else proxy.url), **wishes)


def held(bucket: Bucket) -> dict[PurePosixPath, bytes]:
    bodies = bucket.bodies()
    return {PurePosixPath(key.removeprefix("pre/fix/")): body for key, body in bodies.items() if not key.endswith("/")}


def test_each_object_says_what_it_is_and_how_long_it_may_be_kept(root: Path, bucket: Bucket) -> None:
    send(root, bucket)

    def headers(path: str) -> tuple[str, str]:
        answer = requests.get(f"{bucket.url}/{bucket.name}/pre/fix/{path}", timeout=10)
        assert answer.status_code == 200, path
        return answer.headers["Content-Type"], answer.headers["Cache-Control"]

    for_ever = "max-age=31536000, immutable"
    assert headers("whl/cu121/torch-3.0%2Bcu121-py3-none-any.whl") == ("application/octet-stream", for_ever)
    assert headers("whl/cu121/torch-3.0%2Bcu121-py3-none-any.whl.metadata") == ("text/plain; charset=utf-8", for_ever)
    assert headers("whl/cu121/torch/index.html") == ("text/html; charset=utf-8", "no-cache")
    assert headers("whl/cu121/torch/") == ("text/html; charset=utf-8", "no-cache")
    assert headers("whl/cu121/torch/index.v1+json") == ("application/vnd.pypi.simple.v1+json", "no-cache")
    assert headers("whl/cu121/torch_stable.html")[0] == "text/html; charset=utf-8"
    assert headers("manifest.json") == ("application/json", "no-cache")


def test_a_page_lies_under_its_directory_too_and_goes_with_it(root: Path, bucket: Bucket, tmp_path: Path) -> None:
    send(root, bucket)
    bodies = bucket.bodies()
    assert bodies["pre/fix/whl/cu121/torch/"] == bodies["pre/fix/whl/cu121/torch/index.html"]
    assert bodies["pre/fix/whl/"] == bodies["pre/fix/whl/index.html"]

    bucket.client.delete_object(Bucket=bucket.name, Key="pre/fix/whl/cu121/torch/")
    assert send(root, bucket).pages == (PurePosixPath("whl/cu121/torch/index.html"),)
    assert "pre/fix/whl/cu121/torch/" in bucket.bodies()

    smaller = Mirror(tmp_path / "smaller")
    SYMPY.admit(smaller)
    smaller.publish()
    send(smaller.root, bucket, delete=True)
    assert not [key for key in bucket.bodies() if "cu121" in key]


def test_a_key_keeps_its_plus(root: Path, bucket: Bucket) -> None:
    send(root, bucket)

    assert LARGE_KEY in bucket.bodies()
    assert "+" in LARGE_KEY


def test_a_large_file_that_was_cut_off_is_continued(root: Path, bucket: Bucket, proxy: Proxy) -> None:
    proxy.faults.append(Fault(hits=putting("partNumber=3"), times=100, status=403, code="AccessDenied"))
    with pytest.raises(UpstreamError) as caught:
        send(root, bucket, proxy, jobs=1)
    assert caught.value.code == "store-refused"
    assert bucket.unfinished() == [LARGE_KEY]
    proxy.faults.clear()
    proxy.requests.clear()

    report = send(root, bucket, proxy, jobs=1)

    assert report.bytes_continued == 2 * PART
    sent = [path for method, path in proxy.requests if method == "PUT" and "partNumber" in path]
    assert not [path for path in sent if "partNumber=1&" in path or "partNumber=2&" in path]
    assert held(bucket) == public(root)
    assert bucket.unfinished() == []
    assert report.uploads_aborted == 0


def test_parts_of_other_bytes_are_not_taken_for_ours(root: Path, bucket: Bucket) -> None:
    where = {"Bucket": bucket.name, "Key": LARGE_KEY}
    for _ in range(2):
        begun = bucket.client.create_multipart_upload(**where, Metadata={"sha256": "other"})
        bucket.client.upload_part(**where, UploadId=begun["UploadId"], PartNumber=1, Body=bytes(PART))

    report = send(root, bucket)

    assert report.bytes_continued == 0
    assert report.uploads_aborted == 1
    assert held(bucket) == public(root)
    assert bucket.unfinished() == []
    carried = bucket.client.head_object(Bucket=bucket.name, Key=LARGE_KEY)
    assert carried["Metadata"] == {"sha256": LARGE.sha256}
    assert carried["CacheControl"].endswith("immutable")


def test_what_is_ours_of_earlier_runs_is_cleaned_away_and_what_is_not_stays(root: Path, bucket: Bucket) -> None:
    gone, stranger = "pre/fix/whl/cu118/torch-0.9+cu118-py3-none-any.whl", "pre/fix/backups/database.tar"
    for key in (gone, stranger, LARGE_KEY.replace("pre/", "other/")):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)

    report = send(root, bucket)

    assert report.uploads_aborted == 1
    assert sorted(bucket.unfinished()) == sorted([stranger, LARGE_KEY.replace("pre/", "other/")])


@pytest.mark.parametrize("ended", ["aborted", "completed"])
def test_an_upload_that_another_run_ends(root: Path, bucket: Bucket, proxy: Proxy, ended: str) -> None:
    def end(method: str, path: str) -> bool:
        hit = method == "PUT" and "partNumber=3" in path
        if hit:
            if ended == "completed":
                body, metadata = LARGE.body, {"sha256": LARGE.sha256}
                bucket.client.put_object(Bucket=bucket.name, Key=LARGE_KEY, Body=body, Metadata=metadata)
            for upload in bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", ()):
                bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=LARGE_KEY, UploadId=upload["UploadId"])
        return hit

    proxy.faults.append(Fault(hits=end, status=404, code="NoSuchUpload"))  # as S3 says it; moto would answer 500
    if ended == "completed":
        send(root, bucket, proxy, jobs=1)
    else:
        with pytest.raises(UsageError) as caught:
            send(root, bucket, proxy, jobs=1)
        assert caught.value.code == "destination-busy"
        proxy.faults.clear()
        send(root, bucket, proxy, jobs=1)
    assert held(bucket) == public(root)


def test_a_damaged_large_file_leaves_nothing_that_costs_money(root: Path, bucket: Bucket) -> None:
    (root / LARGE.path).write_bytes(bytes(len(LARGE.body)))

    report = send(root, bucket)

    assert [one.path for one in report.failures] == [LARGE.path]
    assert bucket.unfinished() == []
    assert LARGE_KEY not in bucket.bodies()


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        (Fault(hits=putting("/whl/"), times=2, status=503), "any write"),
        (Fault(hits=putting("/whl/"), times=2, status=500, code="InternalError"), "any write"),
        (Fault(hits=putting("partNumber=2"), times=2, cut="before"), "a part"),
        (Fault(hits=putting("partNumber=2"), times=2, cut="after"), "a part, and its answer is lost"),
        (Fault(hits=putting("partNumber=2"), times=1, damage=True), "a part on its way"),
        (Fault(hits=putting("metadata"), times=1, damage=True), "a small file on its way"),
        (Fault(hits=putting("uploads"), times=1, cut="after"), "a beginning, and its answer is lost"),
        (Fault(hits=lambda method, path: method == "POST" and "uploadId" in path, cut="after"), "an end"),
        (Fault(hits=putting("manifest.json"), times=1, cut="after"), "the manifest, and its answer is lost"),
        (Fault(hits=lambda method, path: method == "GET" and "list-type" in path, times=2, status=503), "a list"),
        (Fault(hits=lambda method, _: method == "HEAD", times=2, cut="before"), "a question"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_store_that_fails_now_and_then_is_borne(
    root: Path, bucket: Bucket, proxy: Proxy, fault: Fault, where: str
) -> None:
    del where
    fault = replace(fault)
    proxy.faults.append(fault)

    send(root, bucket, proxy)

    assert fault.met == fault.times
    assert held(bucket) == public(root)
    assert bucket.unfinished() == []


def test_a_stalled_store_is_left_and_asked_again(root: Path, bucket: Bucket, proxy: Proxy) -> None:
    fault = Fault(hits=putting("partNumber=2"), stall=1.5)
    proxy.faults.append(fault)
    client, _ = connect(Endpoint(url=proxy.url, timeout=0.3))
    destination = bucket.destination(Silent(), url=proxy.url)
    destination.client = client

    publish(root, destination)

    assert fault.met == 1
    assert held(bucket) == public(root)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((503, "SlowDown"), "store-failed"),
        ((403, "AccessDenied"), "store-refused"),
        ((403, "RequestTimeTooSkewed"), "store-refused"),
        ((404, "NoSuchBucket"), "no-bucket"),
        ((400, "InvalidRequest"), "store-failed"),
    ],
)
def test_a_store_that_goes_on_failing_is_said_in_our_words(
    root: Path, bucket: Bucket, proxy: Proxy, answer: tuple[int, str], expected: str
) -> None:
    status, code = answer
    proxy.faults.append(Fault(hits=lambda _, path: "list-type" in path, times=100, status=status, code=code))

    with pytest.raises(PytorchOfflineError) as caught:
        send(root, bucket, proxy)

    assert caught.value.code == expected
    assert caught.value.facts["destination"] == f"s3://{bucket.name}/pre/fix"
    assert len(proxy.requests) <= 7


def test_nobody_there_is_said_soon(root: Path, bucket: Bucket) -> None:
    destination = bucket.destination(Silent(), url="http://127.0.0.1:9")

    with pytest.raises(UpstreamError) as caught:
        publish(root, destination)

    assert caught.value.code == "unreachable"


def test_a_bucket_that_is_not_there_is_the_users_to_make(root: Path, store_port: int) -> None:
    bucket = make_bucket(store_port)
    bucket.client.delete_bucket(Bucket=bucket.name)

    with pytest.raises(UsageError) as caught:
        send(root, bucket)

    assert caught.value.code == "no-bucket"


def test_the_second_of_two_publishers_is_told(root: Path, bucket: Bucket, proxy: Proxy) -> None:
    """The other one's manifest arrives between our last look and our write."""
    send(root, bucket)
    mirror = Mirror(root)
    mirror.rewrite([replace(mirror.read_files()[LARGE.path], yanked="broken")])
    mirror.publish()

    def quicker(method: str, path: str) -> bool:
        if method == "PUT" and path.endswith("manifest.json"):
            bucket.client.put_object(Bucket=bucket.name, Key="pre/fix/manifest.json", Body=b"of another run")
        return False

    proxy.faults.append(Fault(hits=quicker))
    with pytest.raises(UsageError) as caught:
        send(root, bucket, proxy)

    assert caught.value.code == "destination-busy"
    assert bucket.bodies()["pre/fix/manifest.json"] == b"of another run"


def test_a_store_without_conditions_is_written_to_all_the_same(root: Path, bucket: Bucket, proxy: Proxy) -> None:
    proxy.faults.append(Fault(hits=putting("manifest.json"), status=501, code="NotImplemented"))

    send(root, bucket, proxy)

    assert held(bucket) == public(root)


def test_a_store_that_takes_no_key_with_a_slash_at_its_end_gets_the_rest(
    root: Path, bucket: Bucket, proxy: Proxy
) -> None:
    refused = Fault(hits=lambda method, path: method == "PUT" and path.endswith("/"), times=100, status=400, code="Bad")
    proxy.faults.append(refused)

    send(root, bucket, proxy, jobs=1)

    assert refused.met == 1
    assert held(bucket) == public(root)


def test_a_store_that_lists_no_uploads_gets_whole_ones(root: Path, bucket: Bucket, proxy: Proxy) -> None:
    unknown = Fault(hits=lambda method, path: method == "GET" and "uploads" in path, status=501, code="NotImplemented")
    proxy.faults.append(unknown)

    send(root, bucket, proxy)

    assert unknown.met == 1
    assert held(bucket) == public(root)


def test_lists_that_come_in_pages_are_read_to_their_end(
    root: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(root, bucket)
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")

    report = send(root, bucket)

    assert (report.sent, report.pages) == ((), ())


class _Stopping(Silent):
    """Stops as soon as something is said."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def say(self, message: str) -> None:
        del message
        self._stop.set()


def test_a_wait_for_a_store_ends_with_the_run(bucket: Bucket, proxy: Proxy) -> None:
    proxy.faults.append(Fault(hits=lambda *_: True, times=100, status=503))
    stop = Stop()
    patient = RetryPolicy(tries=9, first_wait=60.0, longest_wait=60.0, budget=600.0)
    destination = ObjectStoreDestination(
        connected(proxy.url)[0], bucket.name, "", address=None, stop=stop, progress=_Stopping(stop), retry=patient
    )

    with pytest.raises(Stopped):
        destination.list_files()

    assert len(proxy.requests) == 1


def test_a_dry_run_writes_nothing(root: Path, bucket: Bucket, proxy: Proxy) -> None:
    report = send(root, bucket, proxy, dry_run=True)

    assert bucket.bodies() == {}
    assert LARGE.path in report.sent
    assert {method for method, _ in proxy.requests} <= {"GET", "HEAD"}


def test_without_credentials_it_is_said_how_to_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(UsageError) as caught:
        connect(Endpoint(url="http://127.0.0.1:9"))

    assert caught.value.code == "no-credentials"
    assert "AWS_ACCESS_KEY_ID" in str(caught.value.hint)


def test_without_botocore_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)

    with pytest.raises(UsageError) as caught:
        connect(Endpoint(url="http://127.0.0.1:9"))

    assert caught.value.code == "no-botocore"
    assert "pip install 'pytorch-offline[s3]'" in str(caught.value.hint)


def test_a_profile_that_is_not_there_is_said() -> None:
    with pytest.raises(UsageError) as caught:
        connect(Endpoint(url="http://127.0.0.1:9", profile="nobody"))

    assert caught.value.code == "bad-destination"
    assert "nobody" in caught.value.message


@pytest.mark.parametrize(
    ("endpoint", "bucket", "address"),
    [
        ("https://s3.eu-central-1.amazonaws.com", "wheels", "https://wheels.s3.eu-central-1.amazonaws.com"),
        ("https://s3.eu-central-1.amazonaws.com", "wheels.lan", "https://s3.eu-central-1.amazonaws.com/wheels.lan"),
        ("http://s3.lan:9000/", "wheels", "http://s3.lan:9000/wheels"),
    ],
)
def test_readers_find_a_bucket_at_its_endpoint(endpoint: str, bucket: str, address: str) -> None:
    assert readers_address(endpoint, bucket) == address


@pytest.mark.parametrize("size", [1, PART, 10_000 * PART, 10_000 * PART + 1, 5 * 1024**4])
def test_no_file_has_more_parts_than_a_store_takes(bucket: Bucket, size: int) -> None:
    part = bucket.destination(Silent()).piece_size(size)

    assert -(-size // part) <= 10_000
    assert part >= PART
    assert part == PART or part % 1024 == 0


def test_a_publication_is_complete_only_with_every_key_decoded_once(root: Path, bucket: Bucket, proxy: Proxy) -> None:
    send(root, bucket, proxy)

    keys = {unquote(path.partition("?")[0]) for method, path in proxy.requests if method == "PUT"}
    assert f"/{bucket.name}/pre/fix/{LARGE.path}" in keys
    wire = [path for method, path in proxy.requests if method == "PUT" and "torch-3.0" in path]
    assert all("%2B" in path and "+" not in path for path in wire)
