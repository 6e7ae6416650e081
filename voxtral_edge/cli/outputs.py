"""Where transcripts go: live text on standard output, or files written whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from voxtral_edge import formats
from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.events import Event, TextEvent, event_to_dict, json_line
from voxtral_edge.files import write_whole
from voxtral_edge.results import MAX_LINE_CHARACTERS, Transcript

FORMATS = ("txt", "srt", "vtt", "json", "jsonl")
STDIN = "-"


@dataclass(frozen=True)
class Job:
    """One input (`-` is standard input) and the file its transcript goes to (None: standard output)."""

    source: str
    output: Path | None

    @property
    def name(self) -> str:
        """The input's name as valid text, whatever bytes the file system allows."""
        return os.fsencode(self.source).decode("utf-8", "replace")

    @property
    def label(self) -> str:
        """The input's name for people."""
        return "standard input" if self.source == STDIN else self.name


def plan_jobs(sources: Sequence[str], output: str | None, file_format: str, words: bool) -> list[Job]:
    """Pairs inputs with outputs. UsageError for combinations that cannot work, before any work is done."""
    if not sources:
        raise UsageError(
            "no audio given; name one or more files, or - for headerless samples on standard input"
        )
    if sources.count(STDIN) > 1:
        raise UsageError("standard input (-) can be read only once")
    if words and file_format == "srt":
        raise UsageError("srt has no place for word times; use --words with txt, vtt, json or jsonl")
    if output is None or output == STDIN:
        if len(sources) > 1 and file_format in ("srt", "vtt"):
            raise UsageError(
                f"several {file_format} files cannot share standard output; give a folder: -o DIR"
            )
        return [Job(source, None) for source in sources]
    files = output_files(sources, output, file_format)
    return [Job(source, file) for source, file in zip(sources, files, strict=True)]


def output_files(sources: Sequence[str], output: str, extension: str) -> list[Path]:
    """The file for each input: `output` itself for a single one, else files of the inputs' names in that folder.

    UsageError if two inputs share a file, or one of the inputs would be overwritten.
    """
    target = Path(output)
    if len(sources) == 1 and not target.is_dir() and not output.endswith(("/", os.sep)):
        files = [target]
    elif target.exists() and not target.is_dir():
        raise UsageError(f"{output}: is a file; several inputs need a folder")
    else:
        files = _names(sources, target, extension)
    inputs = [source for source in sources if source != STDIN and os.path.exists(source)]
    for file in files:
        if file.is_file() and any(file.samefile(source) for source in inputs):
            raise UsageError(f"{file}: is an input, and would be overwritten; choose another output")
    return files


class Sink:
    """Turns one job's events and transcript into output, in one of FORMATS.

    Live formats (txt without word times, jsonl) on standard output are printed event by event; everything
    else when the transcript is complete. `several`: more than one job shares standard output, so each is
    named. `whole`: text is printed when it is complete (which speaker says it may change until then).
    `width`: characters per line of subtitles.
    """

    def __init__(
        self,
        job: Job,
        file_format: str,
        words: bool,
        several: bool,
        about: dict[str, Any],
        whole: bool = False,
        width: int = MAX_LINE_CHARACTERS,
    ) -> None:
        self._job = job
        self._width = width
        self._format = file_format
        self._words = words
        self._several = several
        self._about = about
        self._out: TextIO = sys.stdout
        live_text = file_format == "txt" and not words and not whole
        self._live = job.output is None and (file_format == "jsonl" or live_text)
        self._lines: list[str] = []
        self._printed = ""

    @property
    def live_text(self) -> bool:
        """Whether text appears on standard output while the job runs."""
        return self._live and self._format == "txt"

    def begin(self) -> None:
        """Names the job where several share standard output."""
        if self._several and self._job.output is None and self._format == "txt":
            self._print(f"==> {self._job.label} <==\n")

    def event(self, event: Event) -> None:
        """Prints or keeps one event."""
        if self._format == "jsonl":
            about = {"file": self._job.name} if self._several else {}
            line = json_line({**about, **event_to_dict(event)}) + "\n"
            if self._live:
                self._print(line)
            else:
                self._lines.append(line)
        elif self._live and isinstance(event, TextEvent):
            self._print_text(event.text)

    def finish(self, transcript: Transcript) -> dict[str, Any] | None:
        """Writes what is left. Returns the document instead where JSON documents share one list."""
        if self._live and self._format == "txt":
            rest = transcript.text.lstrip()[len(self._printed) :]
            self._print_text(rest)
            self._print("\n\n" if self._several else "\n")
            return None
        if self._format == "json" and self._job.output is None and self._several:
            return self._document(transcript)
        text = self._render(transcript)
        if self._job.output is None:
            self._print(text)
        else:
            write_whole(self._job.output, text)
        return None

    def break_off(self) -> None:
        """Ends the line of live text, so that a message on the same terminal starts on one of its own."""
        if self._printed:
            self._print("\n")

    def _render(self, transcript: Transcript) -> str:
        if self._format == "json":
            return formats.to_json([self._document(transcript)], as_list=False)
        if self._format == "jsonl":
            return "".join(self._lines)
        if self._format == "srt":
            return formats.to_srt(transcript, self._width)
        if self._format == "vtt":
            return formats.to_vtt(transcript, self._words, self._width)
        return formats.to_txt(transcript, self._words)

    def _document(self, transcript: Transcript) -> dict[str, Any]:
        return formats.to_dict(transcript, file=self._job.name, **self._about)

    def _print_text(self, text: str) -> None:
        """Text of the transcript; the space before its first word is left out."""
        if not self._printed:
            text = text.lstrip()
        if text:
            self._printed += text
            self._print(text)

    def _print(self, text: str) -> None:
        if text:
            try:
                self._out.write(text)
                self._out.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise DeviceError(
                    f"standard output: cannot be written ({error.strerror}); check where it goes, or use -o FILE"
                ) from error


def _names(sources: Sequence[str], folder: Path, extension: str) -> list[Path]:
    """`speech.wav` -> `speech.srt`; two inputs of one stem keep their whole names (`speech.wav.srt`)."""
    stems = ["stdin" if source == STDIN else Path(source).stem for source in sources]
    names = [
        f"{stem if stems.count(stem) == 1 else Path(source).name}.{extension}"
        for source, stem in zip(sources, stems, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two inputs would both be written to {folder / name}; transcribe them into two folders"
            )
    return [folder / name for name in names]
