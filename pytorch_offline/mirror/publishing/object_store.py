"""An S3-compatible bucket as destination.

An object appears whole or not at all, so that ordering is all that a reader needs. What S3 leaves to us:

- *Whose bytes are these?* An ETag is no sha256, and of what came in parts not even a hash of the bytes. Each object
  carries its sha256 as metadata; one that was sent in parts is completed only after the hash agreed.
- *What a cut-off run brought* of a large file are parts that nobody sees and that cost money. They are found by name,
  compared by MD5 with what would be sent, and not sent again. Whatever is ours and not continued is aborted. Two runs
  may continue the same upload: parts are a function of the file.
- *A directory has no index.* ``whl/cu121/torch/`` is a key like any other: it holds the HTML page too.
"""

from __future__ import annotations

import hashlib
import random
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from pytorch_offline.errors import PytorchOfflineError, UpstreamError
from pytorch_offline.mirror.layout import HTML_NAME, LOCKS, ROOT
from pytorch_offline.mirror.progress import Doing
from pytorch_offline.mirror.publishing.destination import busy
from pytorch_offline.mirror.publishing.model import Document, Found
from pytorch_offline.mirror.publishing.multipart import GONE_UPLOAD, Upload
from pytorch_offline.mirror.publishing.plan import looks_like_ours
from pytorch_offline.mirror.publishing.s3_client import Refused, read_trouble
from pytorch_offline.mirror.served_as import cache_control_of, media_type_of
from pytorch_offline.mirror.transfer import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytorch_offline.mirror.progress import Progress
    from pytorch_offline.mirror.publishing.model import PublicFile
    from pytorch_offline.mirror.publishing.s3_client import S3Client
    from pytorch_offline.mirror.workers import Stop
    from pytorch_offline.retries import RetryPolicy

_MIB = 1024 * 1024
# S3 takes 10,000 parts of 5 MiB or more; 8 MiB on each of eight connections keep a fast line busy and memory small.
_PART, _MOST_PARTS = 8 * _MIB, 10_000
# What S3 copies in one request.
_LARGEST_COPY = 5 * 1024 * _MIB
_SHA256 = "sha256"
_CHUNK = 1024 * 1024
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
# A condition did not hold; or another write to the same key was under way.
_LOST_RACE = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_UNKNOWN_CALL = frozenset({"501", "NotImplemented", "405", "MethodNotAllowed"})

_T = TypeVar("_T")


class ObjectStoreDestination:
    """A bucket, or what lies below a prefix of one.

    Args:
        client: speaks S3.
        bucket: its name.
        prefix: of all keys, without ``/`` at its ends; may be empty.
        address: where readers find what lies below the prefix.
        stop: ends all waiting.
        progress: told of waits.
        retry: how patient to be.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str,
        *,
        address: str | None,
        stop: Stop,
        progress: Progress,
        retry: RetryPolicy = PATIENCE,
    ) -> None:
        self.client = client
        self.bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._address = address
        self._stop = stop
        self._progress = progress
        self._retry = retry
        self._uploads: dict[str, list[str]] = {}  # what earlier runs left: ids by key, the newest last
        self._left: set[str] = set()  # all those ids
        self._finished: set[str] = set()  # keys whose upload this run has completed
        self._indexes: dict[PurePosixPath, Found] = {}  # the keys that end in a slash, by the page that they hold
        self._without_indexes = False
        self._mutex = threading.Lock()

    @property
    def name(self) -> str:
        """As it was given."""
        return f"s3://{self.bucket}/{self._prefix}".rstrip("/")

    @property
    def address(self) -> str | None:
        """Where anonymous readers find it, if the bucket's policy lets them."""
        return self._address

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Find what earlier runs left; a bucket keeps no lock, and ``swap`` notices another run."""
        for key, upload in self._unfinished():
            self._uploads.setdefault(key, []).append(upload)
            self._left.add(upload)
        yield

    def list_files(self) -> Mapping[PurePosixPath, Found]:
        """List objects below ``whl`` and ``locks``; keys that no path has are nobody's business here."""
        found = {}
        for top in (ROOT, LOCKS):
            for entry in self._listed("list_objects_v2", "Contents", prefix=f"{top}/"):
                key, there = str(entry["Key"]), Found(size=int(entry["Size"]), etag=str(entry["ETag"]).strip('"'))
                if (page := self._path(f"{key}{HTML_NAME}")) is not None and key.endswith("/"):
                    self._indexes[page] = there
                elif (path := self._path(key)) is not None:
                    found[path] = there
        return found

    def read(self, path: PurePosixPath) -> Document | None:
        """Read a small object; its version is its ETag."""

        def action() -> Document:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key(path))
            return Document(body=answer["Body"].read(), version=str(answer["ETag"]))

        try:
            return self.ask(f"reading {path}", action)
        except Refused as refused:
            if refused.trouble.code in _ABSENT:
                return None
            raise refused.trouble.error from refused

    def holds(self, file: PublicFile, found: Found, *, body: bytes | None = None, reread: bool = False) -> bool:
        """Compare the ETag where the bytes are at hand, else the sha256 that the object carries; or read it."""
        if reread:
            return self.call(f"reading {file.path}", lambda: self._sha256(file.path)) == file.sha256
        if body is not None and not self._same(found, body):
            return False
        if body is not None and self._has_index(file.path):
            index = self._indexes.get(file.path)
            return self._without_indexes or (index is not None and self._same(index, body))
        return body is not None or self.carried(file.path) == (file.size, file.sha256)

    def expect(self, files: Iterable[PublicFile]) -> None:
        """Do nothing: a bucket has no end that anybody could ask for."""

    def piece_size(self, size: int) -> int:
        """Give the size of a part, whole MiB, the same for every run."""
        least = -(-size // _MOST_PARTS)
        return max(_PART, -(-least // _MIB) * _MIB)

    def put(self, file: PublicFile, body: bytes) -> None:
        """Write an object; an index page under its directory's key, too."""
        self._put(self.key(file.path), file, body)
        if self._has_index(file.path) and not self._without_indexes:
            try:
                self._put(self.key(file.path).removesuffix(HTML_NAME), file, body)
            except PytorchOfflineError as error:
                if error.code != "store-failed":
                    raise
                self._without_indexes = True
                self._progress.say(
                    f"{self.name} takes no key that ends in a slash: have index.html served for directories, or "
                    "give pip the flat page, --find-links …/torch_stable.html"
                )

    def receive(self, file: PublicFile) -> Upload:
        """Begin a large object, or go on with the newest upload of its name."""
        with self._mutex:
            known = self._uploads.get(self.key(file.path), [])
            return Upload(self, file, known.pop() if known else None)

    def copy(self, there: PurePosixPath, file: PublicFile) -> bool:
        """Let the store copy what it has."""
        if file.size > _LARGEST_COPY:
            return False
        try:
            self.ask(f"copying {there}", lambda: self._copy(there, file))
        except Refused as refused:
            if refused.trouble.code in _UNKNOWN_CALL:
                return False
            raise refused.trouble.error from refused
        return True

    def remove(self, path: PurePosixPath) -> None:
        """Remove an object; S3 says the same of one that is not there."""
        keys = [self.key(path)]
        if self._has_index(path) and path in self._indexes:
            keys.insert(0, keys[0].removesuffix(HTML_NAME))
        for key in keys:
            self.call(f"removing {path}", partial(self.client.delete_object, Bucket=self.bucket, Key=key))

    def sweep(self) -> int:
        """Abort what earlier runs left and is not complete now, and what was begun twice when an answer was lost."""
        stale = [(key, upload) for key, upload in self._unfinished() if upload in self._left or key in self._finished]
        for key, upload in stale:
            self.abort(key, upload)
        return len(stale)

    def swap(self, file: PublicFile, body: bytes, *, over: Document | None) -> None:
        """Write under a condition, and look first: not every store knows conditions."""
        there = self.read(file.path)
        if (None if there is None else there.version) != (None if over is None else over.version):
            raise busy(self.name)
        condition = {"IfNoneMatch": "*"} if over is None else {"IfMatch": over.version}
        try:
            self.ask(f"writing {file.path}", lambda: self._put_once(self.key(file.path), file, body, condition))
        except Refused as refused:
            if refused.trouble.code in _UNKNOWN_CALL:
                self._put(self.key(file.path), file, body)
            elif refused.trouble.code in _LOST_RACE:
                there = self.read(file.path)
                if there is None or there.body != body:  # else it was us, and the answer was lost
                    raise busy(self.name) from refused
            else:
                raise refused.trouble.error from refused

    # For uploads -----------------------------------------------------------------------------------------------------

    def key(self, path: PurePosixPath) -> str:
        """Name the object of a path."""
        return f"{self._prefix}{path}"

    def headers(self, file: PublicFile) -> dict[str, Any]:
        """Say what is kept beside an object's bytes, and sent with them."""
        return {
            "ContentType": media_type_of(file.path),
            "CacheControl": cache_control_of(file.path),
            "Metadata": {_SHA256: file.sha256},
        }

    def carried(self, path: PurePosixPath) -> tuple[int, str] | None:
        """Ask for the size of an object and the sha256 that it carries; None if there is none."""
        try:
            answer = self.ask(
                f"asking for {path}", lambda: self.client.head_object(Bucket=self.bucket, Key=self.key(path))
            )
        except Refused as refused:
            if refused.trouble.code in _ABSENT:
                return None
            raise refused.trouble.error from refused
        return int(answer["ContentLength"]), str(answer.get("Metadata", {}).get(_SHA256, ""))

    def finished(self, key: str) -> None:
        """Note that an object is complete: whatever else was begun under its key is of no use."""
        with self._mutex:
            self._finished.add(key)

    def abort(self, key: str, upload: str) -> None:
        """Forget an upload that may be gone already."""
        try:
            self.ask(
                "aborting an unfinished upload",
                lambda: self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload),
            )
        except Refused as refused:
            if refused.trouble.code not in GONE_UPLOAD:
                raise refused.trouble.error from refused

    def call(self, what: str, action: Callable[[], _T], *, path: PurePosixPath | None = None) -> _T:
        """Do something, patiently.

        Raises:
            UpstreamError: ``store-failed``, ``store-refused``.
            UsageError: ``no-bucket``, ``no-credentials``.
        """
        try:
            return self.ask(what, action, path=path)
        except Refused as refused:
            raise refused.trouble.error from refused

    def ask(self, what: str, action: Callable[[], _T], *, path: PurePosixPath | None = None) -> _T:
        """Do something, patiently, where a refusal may be an answer.

        Raises:
            Refused: it failed for good.
        """
        failures, connects, waited = 0, 0, 0.0
        while True:
            self._stop.check()
            try:
                return action()
            except Exception as error:
                trouble = read_trouble(error, what, self.name)
                failures += 1
                connects += trouble.connecting
                pause = self._retry.wait(
                    failures,
                    chance=random.random(),  # noqa: S311  (no secret)
                    asked=_seconds(trouble.retry_after),
                )
                spent = failures >= self._retry.tries or connects >= self._retry.connect_tries
                if not trouble.again or spent or waited + pause > self._retry.budget:
                    trouble.error.facts |= {"tries": str(failures)} if failures > 1 else {}
                    raise Refused(trouble) from error
                waited += pause
                self._tell(what, path, pause, str(trouble.error.facts.get("reason", trouble.error.message)))
                self._stop.sleep(pause)
                if path is not None:
                    self._progress.doing(str(path), Doing.SENDING)

    # Steps -----------------------------------------------------------------------------------------------------------

    def _tell(self, what: str, path: PurePosixPath | None, seconds: float, reason: str) -> None:
        if path is not None:
            self._progress.doing(str(path), Doing.WAITING, seconds=seconds, reason=reason)
        else:
            self._progress.say(f"{what}: {reason}; trying again")

    def _unfinished(self) -> Iterator[tuple[str, str]]:
        """Give key and id of each unfinished upload of what looks like ours."""
        for entry in self._listed("list_multipart_uploads", "Uploads", bearable=True):
            path = self._path(str(entry["Key"]))
            if path is not None and looks_like_ours(path):
                yield str(entry["Key"]), str(entry["UploadId"])

    def _path(self, key: str) -> PurePosixPath | None:
        """Give the path of a key below the prefix, None for one that is no path's."""
        if not key.startswith(self._prefix):
            return None
        text = key[len(self._prefix) :]
        path = PurePosixPath(text)
        return path if str(path) == text and ".." not in path.parts and not path.is_absolute() else None

    def _listed(
        self, call: str, entries: str, *, prefix: str = "", bearable: bool = False
    ) -> Iterator[Mapping[str, Any]]:
        """Give all entries of a list that comes in pages; with ``bearable`` none where the store has no such list."""
        further: dict[str, object] = {}
        while True:
            arguments = {"Bucket": self.bucket, "Prefix": self._prefix + prefix, **further}
            try:
                answer = self.ask("listing", partial(getattr(self.client, call), **arguments))
            except Refused as refused:
                if bearable and refused.trouble.code in _UNKNOWN_CALL | {"403", "AccessDenied"}:
                    self._progress.say(
                        f"{self.name} does not list unfinished uploads; a lifecycle rule can remove them"
                    )
                    return
                raise refused.trouble.error from refused
            yield from answer.get(entries, ())
            if not answer.get("IsTruncated"):
                return
            names = {"NextContinuationToken": "ContinuationToken", "NextKeyMarker": "KeyMarker",
                     "NextUploadIdMarker": "UploadIdMarker"}  # fmt: skip
            further = {mine: answer[its] for its, mine in names.items() if answer.get(its)}
            if not further:
                raise UpstreamError("store-failed", f"{self.name} says that its list goes on, and not where")

    def _has_index(self, path: PurePosixPath) -> bool:
        return path.name == HTML_NAME

    def _same(self, found: Found, body: bytes) -> bool:
        """Compare by MD5, which the ETag of a small object is unless the store encrypts; then it is written again."""
        return found.size == len(body) and found.etag == hashlib.md5(body, usedforsecurity=False).hexdigest()

    def _put(self, key: str, file: PublicFile, body: bytes) -> None:
        self.call(f"writing {file.path}", lambda: self._put_once(key, file, body, {}), path=file.path)

    def _put_once(self, key: str, file: PublicFile, body: bytes, condition: Mapping[str, str]) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **self.headers(file), **condition)

    def _copy(self, there: PurePosixPath, file: PublicFile) -> None:
        # With its headers said again, a copy onto itself is one that puts them right.
        self.client.copy_object(
            Bucket=self.bucket,
            Key=self.key(file.path),
            CopySource={"Bucket": self.bucket, "Key": self.key(there)},
            MetadataDirective="REPLACE",
            **self.headers(file),
        )

    def _sha256(self, path: PurePosixPath) -> str:
        digest = hashlib.sha256()
        body = self.client.get_object(Bucket=self.bucket, Key=self.key(path))["Body"]
        try:
            while chunk := body.read(_CHUNK):
                self._stop.check()
                digest.update(chunk)
        finally:
            body.close()
        return digest.hexdigest()


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else None
