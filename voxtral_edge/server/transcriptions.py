"""`POST /v1/audio/transcriptions` of OpenAI and of Mistral: a file in, a transcript out, or its text as it is
found."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from voxtral_edge.errors import AudioFormatError, DeviceError, UsageError
from voxtral_edge.hotwords import Hotwords
from voxtral_edge.results import Transcript, Word, segments_from_words
from voxtral_edge.server import mistral_files
from voxtral_edge.server.errors import RequestError, error_response
from voxtral_edge.server.event_stream import Emit, EventStream
from voxtral_edge.server.hub import BusyError, Hub
from voxtral_edge.server.known_speakers import enrol_known_speakers
from voxtral_edge.server.patience import within
from voxtral_edge.server.session import Session, Update
from voxtral_edge.server.speakers import FileSpeakers
from voxtral_edge.server.transcription_form import MISTRAL, TranscriptionRequest, read_form
from voxtral_edge.server.transcription_formats import closing_events, delta_event, respond
from voxtral_edge.server.upload import UploadedAudio, read_multipart, store

log = logging.getLogger("voxtral_edge.server")

# Part of the time for shutting down that a request may use up; the rest is for its answer.
_DRAIN_SHARE = 0.75
OnText = Callable[[str], Awaitable[None]]
Result = TypeVar("Result")


async def transcriptions(request: Request) -> Response:
    """The route."""
    hub: Hub = request.app.state.hub
    try:
        return await _unless(_drained(hub), _shutting_down(), _serve(request, hub))
    except ClientDisconnect:
        return _client_left().response()  # which nobody reads
    except RequestError as error:
        hub.metrics.rejected.labels("request").inc()
        return error.response()
    except BusyError as busy:
        return error_response(503, str(busy), code=busy.reason)
    except AudioFormatError as error:
        hub.metrics.rejected.labels("audio").inc()
        return error_response(400, str(error), param="file", code="invalid_audio")
    except _SessionFailedError as failure:
        return error_response(500, str(failure), code="internal_error")
    except Exception as error:
        error_id = "err_" + secrets.token_hex(6)
        log.error("a transcription request failed, error id %s", error_id, exc_info=error)
        hub.metrics.failures.inc()
        return error_response(500, f"internal error (error id {error_id})", code="internal_error")


async def _serve(request: Request, hub: Hub) -> Response:
    # The place is taken before the body is read: the uploads that can lie on the disk at once are bounded by
    # it.
    with contextlib.ExitStack() as stack:
        session = hub.open("transcriptions", background=True)
        stack.callback(session.close)
        form = await read_multipart(request, hub.limits)
        stack.callback(_close_files, form)
        asked = read_form(form, hub)
        session.configure(delay_tokens=asked.delay_tokens, hotwords=await _hotwords(hub, asked.keywords))
        path = await run_in_threadpool(store, asked.file, stack)
        file = await run_in_threadpool(UploadedAudio, path, asked.file.filename or "file")
        stack.callback(file.close)
        speakers = await _speakers(hub, asked)
        job = _Job(session, file, speakers)
        if asked.stream:
            # The response runs after this function has returned; it closes everything when it ends.
            return EventStream(_stream_body(hub, job, asked), hub.limits, stack.pop_all())
        transcript = await _unless(_disconnected(request, hub), _client_left(), job.run())
        # Half an hour with word times is 200 kB of JSON: 16 ms that the event loop should not spend.
        return await run_in_threadpool(_answer, asked, transcript, job.tokens)


def _answer(asked: TranscriptionRequest, transcript: Transcript, tokens: tuple[int, int]) -> Response:
    if asked.response_format == MISTRAL:
        return JSONResponse(mistral_files.document(asked, transcript, *tokens))
    return respond(asked, transcript)


class _Job:
    """One file through one session."""

    def __init__(self, session: Session, file: UploadedAudio, speakers: FileSpeakers | None) -> None:
        self.session = session
        self._file = file
        self.speakers = speakers
        self.generated_tokens = 0

    @property
    def tokens(self) -> tuple[int, int]:
        """Of the prompt, and generated."""
        return self.session.prompt_tokens, self.generated_tokens

    async def run(self, on_text: OnText | None = None) -> Transcript:
        """The transcript; `on_text` is called with every new piece of text."""
        feeding = asyncio.ensure_future(self._feed())
        words: list[Word] = []
        marks: list[float] = []
        text, heard_s = "", 0.0
        try:
            async for update in self._updates(feeding):
                text += update.text
                words += [Word(word.text, word.start, word.end, word.probability) for word in update.words]
                marks += [mark.time for mark in update.marks]
                heard_s, self.generated_tokens = update.heard_s, update.generated_tokens
                if on_text is not None and update.text:
                    await on_text(update.text)
                if update.finished:
                    break
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        if self.speakers is not None:
            words = await run_in_threadpool(self.speakers.label, words)
        segments = await run_in_threadpool(segments_from_words, words, text, marks, heard_s)
        return Transcript(text, words, segments, [], heard_s, None, self._file.warnings)

    async def _updates(self, feeding: asyncio.Future[None]) -> Any:
        """The session's updates, unless feeding or the session fails first."""
        updates = self.session.updates()
        following: asyncio.Future[Update] | None = None
        try:
            while True:
                following = asyncio.ensure_future(anext(updates))
                waited: set[asyncio.Future[Any]] = {following}
                if not feeding.done():
                    waited.add(feeding)
                while not following.done():
                    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                    if feeding.done():
                        feeding.result()
                        waited.discard(feeding)
                update = following.result()
                if update.failure is not None:
                    raise _SessionFailedError(
                        f"{update.failure.message} (error id {update.failure.error_id})"
                    )
                yield update
        finally:
            if following is not None:
                following.cancel()

    async def _feed(self) -> None:
        while (block := await run_in_threadpool(self._file.read)) is not None:
            await self.session.send_pcm(block)
            if self.speakers is not None:
                await run_in_threadpool(self.speakers.feed, block)
        self.session.finish()


class _SessionFailedError(Exception):
    """The scheduler gave the session up."""


async def _speakers(hub: Hub, asked: TranscriptionRequest) -> FileSpeakers | None:
    if not asked.diarize:
        return None
    try:
        embedder = await hub.embedder()
    except DeviceError as error:
        raise RequestError(400, str(error), param="response_format") from None
    known = await run_in_threadpool(enrol_known_speakers, asked.known_speakers, embedder)
    return FileSpeakers(embedder, known)


async def _hotwords(hub: Hub, keywords: tuple[str, ...]) -> Hotwords:
    try:
        return await hub.hotwords(list(keywords))
    except UsageError as error:
        raise RequestError(400, str(error), param="keywords") from None


def _stream_body(hub: Hub, job: _Job, asked: TranscriptionRequest) -> Callable[[Emit], Awaitable[None]]:
    """Events with text …, with speakers those of segments …, then one with everything; or error. Speakers are final
    only when all has been heard, so the segments come last."""
    mistral = asked.response_format == MISTRAL

    async def body(emit: Emit) -> None:
        async def on_text(text: str) -> None:
            await emit(mistral_files.delta_event(text) if mistral else delta_event(text))

        try:
            transcript = await _unless(_drained(hub), _shutting_down(), job.run(on_text))
        except (RequestError, AudioFormatError, _SessionFailedError) as error:
            code = getattr(error, "code", None) or "internal_error"
            await emit({"type": "error", "error": {"message": str(error), "code": code}})
            return
        closing = mistral_files.closing_events if mistral else closing_events
        for event in await run_in_threadpool(closing, asked, transcript, *job.tokens):
            await emit(event)

    return body


async def _unless(end: Awaitable[None], reason: RequestError, work: Awaitable[Result]) -> Result:
    """Awaits `work`; raises `reason` if `end` comes first."""
    task, ending = asyncio.ensure_future(work), asyncio.ensure_future(end)
    try:
        await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise reason
        return task.result()
    finally:
        for future in (task, ending):
            future.cancel()
        await asyncio.gather(task, ending, return_exceptions=True)


async def _drained(hub: Hub) -> None:
    """Until the server is told to stop and a request has had its share of the time for that."""
    await hub.draining.wait()
    await asyncio.sleep(hub.limits.drain_s * _DRAIN_SHARE)


async def _disconnected(request: Request, hub: Hub) -> None:
    """Until the client leaves (nobody would read the answer) or has kept a place for too long."""
    with contextlib.suppress(asyncio.TimeoutError):
        await within(hub.limits.session_s, _left(request))


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _shutting_down() -> RequestError:
    return RequestError(503, "the server is shutting down", code="draining")


def _client_left() -> RequestError:
    return RequestError(408, "the client left, or the recording took too long")


def _close_files(form: Any) -> None:
    for _, value in form.multi_items():
        if hasattr(value, "file"):
            value.file.close()
