"""The handler: a request comes from aiohttp, the rules decide, and the answer goes out.

Of aiohttp this uses the HTTP parser and writer, and the event loop's sendfile (docs/adr/0015). Its routes, static
files, conditions and ranges are not used.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO

from aiohttp import web

from pytorch_offline.errors import IntegrityError, PytorchOfflineError
from pytorch_offline.mirror.served_as import IMMUTABLE, REVALIDATED
from pytorch_offline.server.listening.connection import SENDING
from pytorch_offline.server.listening.refusals import SERVER, plain
from pytorch_offline.server.monitoring.complaints import Complaints
from pytorch_offline.server.one_thread import RENDERING, give_memory_back
from pytorch_offline.server.protocol.decision import Decision, Representation, decide
from pytorch_offline.server.protocol.negotiation import accepts_gzip, choose_media_type
from pytorch_offline.server.protocol.request_paths import parse_target, relative_location
from pytorch_offline.server.repeats import Repeatable
from pytorch_offline.server.resources import LivePage, Page, Question, Redirect, StoredFile, UnrenderedPage
from pytorch_offline.server.sending import send_through
from pytorch_offline.server.tree.stored_files import open_stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_offline.server.protocol.request_paths import Target
    from pytorch_offline.server.resources import Body, GrowingFile, Resource, Site

METHODS = ("GET", "HEAD")
_ALLOW = ("Allow", ", ".join(METHODS))

# What it means for a client that upstream could not be asked, by the error's code; else 502.
STATUS_OF = {
    **dict.fromkeys(("unreachable", "stalled", "not-in-time"), HTTPStatus.GATEWAY_TIMEOUT),
    **dict.fromkeys(
        ("disk-full", "disk-failed", "file-too-large", "mirror-busy", "upstream-resting"),
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}
NOT_HERE = "This mirror does not have it. Its indexes are /simple/, /whl/, and /whl/<backend>/."
# Rendering a page takes three times its size, for a moment.
_LARGE = 4 * 1024 * 1024
_LATER = ("Retry-After", "10")
# A wheel that is not as it was verified may be under repair; pip and uv come back after so many seconds.
_RETRY_AFTER = ("Retry-After", "5")


class Handler:
    """Answers requests for what a site has.

    Args:
        site: everything there is, by path.
        complain: told in one sentence what the administrator should know of.
        clock: the time in UTC, for pages that are made when they are asked for.
    """

    def __init__(
        self,
        site: Site,
        *,
        complain: Callable[[str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._site = site
        self._complain = complain
        self._clock = clock
        self._complaints = Complaints()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.method not in METHODS:
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, _ALLOW, sentence="This is a read-only mirror.")
        target = parse_target(request.raw_path)
        if isinstance(target, HTTPStatus):
            return plain(target, sentence="Nothing lies at such a path.")
        try:
            found = self._site.find(target.path) or await self._site.bring(target.path)
        except PytorchOfflineError as error:
            status = STATUS_OF.get(error.code, HTTPStatus.BAD_GATEWAY)
            later = [_LATER] if status is HTTPStatus.SERVICE_UNAVAILABLE else []
            return plain(status, *later, sentence=error.message)
        if found is None:
            return plain(HTTPStatus.NOT_FOUND, sentence=NOT_HERE)
        return await self._give(request, target, found)

    async def _give(self, request: web.BaseRequest, target: Target, found: Resource) -> web.StreamResponse:
        field = _fields_of(request)
        match found:
            case Page():
                return self._give_page(request.method, field, target, found)
            case UnrenderedPage(render=render):
                page = await RENDERING.do(render)
                if len(page.forms[0].content) > _LARGE:
                    RENDERING.soon(give_memory_back)
                return self._give_page(request.method, field, target, page)
            case StoredFile():
                return await self._give_file(request, field, target, found)
            case Redirect(location=location):
                there = relative_location(target.path, location, target.query)
                return plain(HTTPStatus.MOVED_PERMANENTLY, ("Location", there), sentence=f"It is at {there}")
            case LivePage(answer=answer):
                question = Question(
                    path=target.path, query=target.query, field=field, origin=_origin(request), now=self._clock()
                )
                made = answer(question)
                return _give_body(
                    request.method,
                    field,
                    made.body,
                    cache_control=made.cache_control,
                    vary=made.vary,
                    status=made.status,
                    headers=made.headers,
                )
            case _:
                return await self._give_growing(request, field, found)

    def _give_page(
        self, method: str, field: Callable[[str], str | None], target: Target, page: Page
    ) -> web.StreamResponse:
        response = _give_page(method, field, target, page)
        response.still = partial(self._has_still, target.path, page)
        return response

    def _has_still(self, path: str, what: Resource) -> bool:
        try:
            return self._site.find(path) == what
        except PytorchOfflineError:  # it is said when the request is answered at length
            return False

    async def _give_file(
        self, request: web.BaseRequest, field: Callable[[str], str | None], target: Target, file: StoredFile
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        try:
            opened = await loop.run_in_executor(None, open_stored, file)
        except FileNotFoundError:
            if file.sha256 is None:
                return plain(HTTPStatus.NOT_FOUND, sentence=NOT_HERE)
            return self._broken(f"{file.path} is missing")
        except IntegrityError as error:
            return self._broken(f"{error.message}; {error.hint}")
        except OSError as error:  # too many open files, a network's disk that is away, no permission
            return self._broken(f"{file.path} cannot be read: {error.strerror or error}")
        stream = opened.stream
        try:
            decision = decide(
                request.method,
                field,
                Representation(
                    size=opened.size,
                    content_type=file.content_type,
                    etag=f'"{opened.sha256}"',
                    modified=opened.modified,
                    cache_control=IMMUTABLE if file.immutable else REVALIDATED,
                ),
            )
            if opened.content is not None or request.method == "HEAD" or not decision.parts:
                response = _from_memory(request.method, decision, opened.content or b"")
                if opened.content is not None and file.immutable:
                    response.still = partial(self._has_still, target.path, file)
                return response
            assert stream is not None  # noqa: S101  (a file has its content or a stream)
            return await self._send_file(request, decision, stream, file)
        finally:
            if stream is not None:
                stream.close()

    async def _send_file(
        self, request: web.BaseRequest, decision: Decision, stream: BinaryIO, file: StoredFile
    ) -> web.StreamResponse:
        response = SentFile(status=decision.status, headers=_headers(decision))
        request[SENDING] = response
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        for part in decision.parts:
            if part.head:
                await response.write(part.head)
            transport = request.transport
            if transport is None:
                raise ConnectionResetError
            count = part.span.stop - part.span.start
            stream.seek(part.span.start)
            trouble = "became shorter"
            try:
                if request.secure:
                    sent = await send_through(response, stream, part.span.start, part.span.stop)
                else:
                    sent = await loop.sendfile(transport, stream, part.span.start, count)
            except ConnectionError:
                raise
            except OSError as error:  # the disk's
                sent, trouble = 0, f"cannot be read: {error.strerror or error}"
            finally:
                if not request.secure:  # else it went through the response, which counts
                    response.bytes_sent += stream.tell() - part.span.start  # also where the client has gone
            if sent != count:
                # The client must not take what it has for a whole file.
                transport.abort()
                self._warn(f"{file.path} was being sent and {trouble}")
                raise ConnectionResetError
        await response.write_eof(decision.tail)
        return response

    async def _give_growing(
        self, request: web.BaseRequest, field: Callable[[str], str | None], growing: GrowingFile
    ) -> web.StreamResponse:
        decision = decide(
            request.method,
            field,
            Representation(
                size=growing.size,
                content_type=growing.content_type,
                etag=growing.etag,
                modified=None,
                cache_control=IMMUTABLE if growing.etag is not None else REVALIDATED,
            ),
        )
        if request.method == "HEAD" or not decision.parts:
            return _from_memory(request.method, decision, b"")
        response = web.StreamResponse(status=decision.status, headers=_headers(decision))
        request[SENDING] = response
        await response.prepare(request)
        try:
            for part in decision.parts:
                if part.head:
                    await response.write(part.head)
                async with aclosing(growing.read(part.span.start, part.span.stop)) as pieces:
                    async for piece in pieces:
                        await response.write(piece)
        except PytorchOfflineError as error:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from error
        await response.write_eof(decision.tail)
        return response

    def _broken(self, what: str) -> web.Response:
        self._warn(what)
        sentence = "The mirror cannot give its copy of this file now."
        return plain(HTTPStatus.SERVICE_UNAVAILABLE, _RETRY_AFTER, sentence=sentence)

    def _warn(self, sentence: str) -> None:
        if self._complaints.is_due(sentence, self._clock()):
            self._complain(sentence)


class SentFile(web.StreamResponse):
    """A response whose content goes past aiohttp, from the file to the socket; it knows how much went there."""

    bytes_sent = 0

    @property
    def body_length(self) -> int:
        """How many bytes of content were sent."""
        return super().body_length + self.bytes_sent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fields:
    """The headers of a request, by name."""

    request: web.BaseRequest

    def __call__(self, name: str) -> str | None:
        values = self.request.headers.getall(name, None)
        return None if values is None else ", ".join(values)


def _fields_of(request: web.BaseRequest) -> Callable[[str], str | None]:
    return _Fields(request=request)


def _origin(request: web.BaseRequest) -> str:
    """Say how the client addressed this server; by the socket's own address where HTTP/1.0 says nothing."""
    authority = request.headers.get("Host")
    if not authority:
        name = request.transport.get_extra_info("sockname") if request.transport is not None else None
        host, port = name[:2] if isinstance(name, tuple) else ("localhost", 0)
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{'https' if request.secure else 'http'}://{authority}"


def _give_page(method: str, field: Callable[[str], str | None], target: Target, page: Page) -> Repeatable:
    if len(page.forms) == 1:
        return _give_body(method, field, page.forms[0], modified=page.modified, headers=page.headers)
    offered = tuple(form.content_type.partition(";")[0] for form in page.forms)
    chosen = choose_media_type(field("Accept"), offered, query=target.query)
    if chosen is None:
        sentence = f"This page is to be had as {', '.join(offered)}."
        return plain(HTTPStatus.NOT_ACCEPTABLE, ("Vary", "Accept"), sentence=sentence)
    form = page.forms[offered.index(chosen)]
    return _give_body(method, field, form, modified=page.modified, vary=("Accept",), headers=page.headers)


def _give_body(
    method: str,
    field: Callable[[str], str | None],
    body: Body,
    *,
    modified: datetime | None = None,
    cache_control: str = REVALIDATED,
    vary: tuple[str, ...] = (),
    status: HTTPStatus = HTTPStatus.OK,
    headers: tuple[tuple[str, str], ...] = (),
) -> Repeatable:
    content, etag, coding = body.content, body.etag, None
    if body.gzipped is not None:
        vary = (*vary, "Accept-Encoding")
        if accepts_gzip(field("Accept-Encoding")):
            content, etag, coding = body.gzipped, f'{body.etag[:-1]}-gzip"', "gzip"
    there = Representation(
        size=len(content),
        content_type=body.content_type,
        etag=etag,
        modified=modified,
        cache_control=cache_control,
        vary=vary,
        content_encoding=coding,
        status=status,
        headers=headers,
    )
    return _from_memory(method, decide(method, field, there), content)


def _from_memory(method: str, decision: Decision, content: bytes) -> Repeatable:
    """Make the response of a decision about bytes in memory."""
    body: bytes | None = None
    if method != "HEAD" and decision.parts:
        first = decision.parts[0]
        if len(decision.parts) == 1 and not first.head and first.span.stop - first.span.start == len(content):
            body = content
        else:
            pieces = [
                piece for part in decision.parts for piece in (part.head, content[part.span.start : part.span.stop])
            ]
            body = b"".join([*pieces, decision.tail])
    return Repeatable(status=decision.status, headers=_headers(decision), body=body)


def _headers(decision: Decision) -> list[tuple[str, str]]:
    return [*decision.headers, SERVER]
