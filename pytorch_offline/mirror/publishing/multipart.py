"""A large object on its way to a bucket, in parts that an earlier run may have brought."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from typing import TYPE_CHECKING

from pytorch_offline.errors import UpstreamError
from pytorch_offline.mirror.publishing.destination import busy
from pytorch_offline.mirror.publishing.s3_client import Refused

if TYPE_CHECKING:
    from pytorch_offline.mirror.publishing.model import PublicFile
    from pytorch_offline.mirror.publishing.object_store import ObjectStoreDestination

# What is said of an upload that was completed or aborted.
GONE_UPLOAD = frozenset({"404", "NoSuchUpload"})


class Upload:
    """A large object on its way, in parts."""

    def __init__(self, store: ObjectStoreDestination, file: PublicFile, earlier: str | None) -> None:
        self._store = store
        self._file = file
        self._where: dict[str, object] = {"Bucket": store.bucket, "Key": store.key(file.path)}
        self._earlier = earlier
        self._had: dict[int, tuple[int, str]] = {}  # parts of an earlier run: size and ETag by number, from 1
        self._etags: dict[int, str] = {}
        self._lock = threading.Lock()
        self._begun = False
        self._there = False  # another run has completed it

    def put(self, number: int, offset: int, piece: bytes) -> int:
        """Send a part, unless an earlier run did; the ETag of a part is its MD5, and where it is not it is sent.

        Raises:
            UsageError: ``destination-busy`` if another run has aborted the upload.
        """
        del offset
        self._begin()
        if self._there:
            return 0
        part = number + 1
        size, etag = self._had.get(part, (None, ""))
        if size == len(piece) and etag.strip('"') == hashlib.md5(piece, usedforsecurity=False).hexdigest():
            self._etags[part] = etag
            return 0
        try:
            answer = self._store.ask(
                f"sending {self._file.path}",
                lambda: self._store.client.upload_part(**self._where, PartNumber=part, Body=piece),
                path=self._file.path,
            )
        except Refused as refused:
            if refused.trouble.code not in GONE_UPLOAD:
                raise refused.trouble.error from refused
            if self._store.carried(self._file.path) != (self._file.size, self._file.sha256):
                raise busy(self._store.name) from refused
            self._there = True
            return 0
        self._etags[part] = str(answer["ETag"])
        return len(piece)

    def finish(self) -> None:
        """Complete the object, and see that it is what was sent.

        Raises:
            UsageError: ``destination-busy`` if another run has aborted the upload.
        """
        if self._there:
            return
        parts = [{"PartNumber": part, "ETag": etag} for part, etag in sorted(self._etags.items())]
        try:
            self._store.ask(
                f"completing {self._file.path}",
                lambda: self._store.client.complete_multipart_upload(**self._where, MultipartUpload={"Parts": parts}),
                path=self._file.path,
            )
        except Refused as refused:
            if refused.trouble.code not in GONE_UPLOAD:
                raise refused.trouble.error from refused
        match self._store.carried(self._file.path):
            case None:
                raise busy(self._store.name)
            case (size, _) if size != self._file.size:
                raise UpstreamError(
                    "store-failed",
                    f"{self._store.name} made an object of another size than was sent",
                    facts={"file": str(self._file.path), "sent": str(self._file.size), "there": str(size)},
                )
            case (_, sha256) if sha256 != self._file.sha256:  # the upload was begun for other bytes of this name
                self._store.copy(self._file.path, self._file)
        self._store.finished(str(self._where["Key"]))

    def abandon(self) -> None:
        """Abort the upload: what was sent is not what it should be."""
        if "UploadId" in self._where:
            self._store.abort(str(self._where["Key"]), str(self._where["UploadId"]))

    def _begin(self) -> None:
        """Begin the upload or find out what came of it; one thread does, the others wait."""
        with self._lock:
            if self._begun:
                return
            if self._earlier is not None:
                self._continue(self._earlier)
            if "UploadId" not in self._where:
                what = f"beginning {self._file.path}"
                create = self._store.client.create_multipart_upload
                headers = self._store.headers(self._file)
                answer = self._store.call(what, lambda: create(**self._where, **headers), path=self._file.path)
                self._where["UploadId"] = str(answer["UploadId"])
            self._begun = True

    def _continue(self, upload: str) -> None:
        where, marker = {**self._where, "UploadId": upload}, 0
        while True:
            try:
                answer = self._store.ask(
                    f"asking what came of {self._file.path}",
                    partial(self._store.client.list_parts, **where, PartNumberMarker=marker),
                )
            except Refused as refused:
                if refused.trouble.code in GONE_UPLOAD:
                    return
                raise refused.trouble.error from refused
            for part in answer.get("Parts", ()):
                self._had[int(part["PartNumber"])] = int(part["Size"]), str(part["ETag"])
            marker = int(answer.get("NextPartNumberMarker") or 0)
            if not answer.get("IsTruncated") or not marker:
                self._where = where
                return
