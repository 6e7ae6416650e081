"""Transcribes audio files, or headerless samples on standard input, to text or subtitles.

  voxtral-edge transcribe talk.wav                        text appears while it is decoded
  voxtral-edge transcribe a.flac b.mp3 --format srt -o subtitles/
  arecord -q -t raw -f S16_LE -r 16000 -c 1 | voxtral-edge transcribe -     live, from a microphone

Files: wav, flac, ogg, mp3; any sample rate from 8 to 192 kHz, 1 to 32 channels. Standard input: 16-bit
little-endian mono samples at 16 kHz without a header. Ctrl-C or SIGTERM ends a live transcription and still
prints what was heard; a second one ends it at once.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from typing import Any

from voxtral_edge.audio import SAMPLE_RATE_HZ, AudioFile, PcmArray, PcmPipe
from voxtral_edge.cli import model_options, speaker_options
from voxtral_edge.cli.interrupt import Interruptible
from voxtral_edge.cli.main import EXIT_DONE, EXIT_ERROR
from voxtral_edge.cli.outputs import FORMATS, STDIN, Job, Sink, plan_jobs
from voxtral_edge.cli.progress import LONG_AUDIO_SECONDS, Progress
from voxtral_edge.cli.speaker_options import SpeakerOptions
from voxtral_edge.engine import Engine, delay_tokens
from voxtral_edge.errors import AudioFormatError, UsageError
from voxtral_edge.files import check_writable
from voxtral_edge.hotwords import Hotwords
from voxtral_edge.results import MAX_LINE_CHARACTERS, MAX_SEGMENT_LINES, MAX_SEGMENT_SECONDS, SegmentLimits
from voxtral_edge.transcript_builder import TranscriptBuilder

Source = AudioFile | PcmPipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `voxtral-edge transcribe`."""
    parser.add_argument("audio", nargs="*", metavar="AUDIO", help="audio files; - is standard input")
    parser.add_argument(
        "--stdin", action="store_true", help="the same as naming - : headerless s16le, mono, 16 kHz"
    )
    model_options.add_arguments(parser)
    model_options.add_hotwords(parser)
    parser.add_argument(
        "--max-line",
        type=model_options.above_zero(int),
        default=MAX_LINE_CHARACTERS,
        metavar="N",
        help=f"columns per line of subtitles (Han and kana take two), {MAX_SEGMENT_LINES} lines at most (%(default)s)",
    )
    parser.add_argument(
        "--max-segment",
        type=model_options.above_zero(float),
        default=MAX_SEGMENT_SECONDS,
        metavar="S",
        help="longest segment, and so subtitle, in seconds (%(default)s)",
    )
    speaker_options.add_arguments(parser)
    parser.add_argument("--format", choices=FORMATS, default="txt", help="what to write (%(default)s)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE|DIR",
        help="file, or folder for several inputs (default: standard output)",
    )
    parser.add_argument(
        "--words",
        action="store_true",
        help="times for every word in txt and vtt too (json and jsonl always have them)",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="position, real-time factor and time left on stderr (default: long files, on a terminal)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs `voxtral-edge transcribe`; the exit code."""
    delay_tokens(args.delay_ms)
    SegmentLimits(line_characters=args.max_line, seconds=args.max_segment)
    sources = list(args.audio) + ([STDIN] if args.stdin and STDIN not in args.audio else [])
    jobs = plan_jobs(sources, args.output, args.format, args.words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # whatever the locale
    expected = model_options.hotwords(args)
    for job in jobs:
        if job.output is not None:
            check_writable(job.output)
    telling = speaker_options.read(args, jobs)
    readable = [job for job in jobs if _opens(job, alone=len(jobs) == 1)]
    if not readable:
        return EXIT_ERROR
    engine = model_options.load_model(args, progress=args.progress is not False)
    hotwords = engine.hotwords(expected)
    about = {"model": engine.name, "engine": engine.engine, "delay_ms": args.delay_ms}
    failed = len(readable) < len(jobs)
    documents: list[dict[str, Any]] = []
    for job in readable:
        sink = Sink(
            job, args.format, args.words, len(jobs) > 1, about, whole=telling is not None, width=args.max_line
        )
        try:
            document, exit_code = _transcribe(engine, job, sink, args, hotwords, telling)
        except AudioFormatError as error:
            if len(jobs) == 1:
                raise
            _complain("error", str(error))
            failed = True
            continue
        if document is not None:
            documents.append(document)
        if exit_code:
            _print_documents(documents)
            return exit_code
    _print_documents(documents)
    return EXIT_ERROR if failed else EXIT_DONE


def _transcribe(
    engine: Engine,
    job: Job,
    sink: Sink,
    args: argparse.Namespace,
    hotwords: Hotwords,
    telling: SpeakerOptions | None,
) -> tuple[dict[str, Any] | None, int]:
    """Transcribes one job. Returns the JSON document if the caller must print it, and the exit code of a signal, or
    0."""
    source = _source(job)
    builder = TranscriptBuilder(SegmentLimits(line_characters=args.max_line, seconds=args.max_segment))
    blocks: Iterator[PcmArray] = source.blocks()
    samples = 0
    sink.begin()
    progress = _progress(args, source, sink, job)
    diarizer = None if telling is None else telling.diarizer()
    with engine.stream(args.delay_ms, hotwords, diarizer) as stream, Interruptible() as interruptible:

        def take(events: list[Any]) -> None:
            builder.take(events)
            for event in events:
                sink.event(event)

        try:
            for block in interruptible.blocks(blocks):
                samples += len(block)
                take(stream.feed(block, more=isinstance(source, AudioFile)))
                progress.update(samples / SAMPLE_RATE_HZ)
            # An interrupted microphone was meant to end here: say the last words. An interrupted file was
            # not.
            if not interruptible.interrupted or job.source == STDIN:
                take(stream.finish())
        except AudioFormatError:
            sink.break_off()
            raise
        finally:
            progress.finish(samples / SAMPLE_RATE_HZ)
            if isinstance(source, AudioFile):
                source.close()
        transcript = builder.build(stream, samples / SAMPLE_RATE_HZ, source.warnings)
        if interruptible.interrupted and job.output is not None and job.source != STDIN:
            _complain("warning", f"{job.label}: interrupted; {job.output} is not written")
            return None, interruptible.exit_code
        document = sink.finish(transcript)
        if telling is not None:
            telling.write_rttm(job, transcript.turns)
        for warning in source.warnings:
            _complain("warning", warning)
        return document, interruptible.exit_code


def _source(job: Job) -> Source:
    return PcmPipe(sys.stdin.buffer) if job.source == STDIN else AudioFile(job.source)


def _opens(job: Job, alone: bool) -> bool:
    """Whether the input can be opened; found out before a model of gigabytes is loaded. Says why not."""
    if job.source == STDIN:
        if sys.stdin.isatty():
            raise UsageError("standard input is a terminal; pipe headerless samples into it or name a file")
        return True
    try:
        AudioFile(job.source).close()
    except AudioFormatError as error:
        if alone:
            raise
        _complain("error", str(error))
        return False
    return True


def _progress(args: argparse.Namespace, source: Source, sink: Sink, job: Job) -> Progress:
    total_s = source.duration_s if isinstance(source, AudioFile) else None
    if args.progress is not None:
        enabled = args.progress
    else:
        long = total_s is not None and total_s >= LONG_AUDIO_SECONDS
        # Live text on the same terminal is progress enough, and the two would overwrite each other.
        enabled = long and sys.stderr.isatty() and not (sink.live_text and sys.stdout.isatty())
    return Progress(total_s, enabled, job.label)


def _print_documents(documents: list[dict[str, Any]]) -> None:
    if documents:
        from voxtral_edge.formats import to_json

        sys.stdout.write(to_json(documents, as_list=True))
        sys.stdout.flush()


def _complain(kind: str, message: str) -> None:
    print(f"voxtral-edge: {kind}: {message}", file=sys.stderr, flush=True)
