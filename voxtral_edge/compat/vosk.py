"""vosk's recogniser on this engine.

    from voxtral_edge.compat.vosk import KaldiRecognizer, Model

    recognizer = KaldiRecognizer(Model("voxtral-4b"), 16000)
    while data := wave_file.readframes(4000):
        if recognizer.AcceptWaveform(data):
            print(recognizer.Result())
    print(recognizer.FinalResult())

A grammar makes its phrases likelier; it does not forbid everything else. Speaker vectors and alternatives do
not exist.
"""

# Names are vosk's.
from __future__ import annotations

import json
from typing import Any

import numpy as np

from voxtral_edge.audio import PathLike
from voxtral_edge.compat.utterances import Utterances, decode
from voxtral_edge.endpoint import EndpointRule
from voxtral_edge.engine import DEFAULT_DELAY_MS, Engine, load
from voxtral_edge.errors import UsageError

# Kaldi's usual rules, as far as they need no decoder scores: nothing said for 5 s, silence behind text, 20 s.
RULES = (
    EndpointRule(5.0),
    EndpointRule(1.0, needs_text=True),
    EndpointRule(0.0, utterance_s=20.0),
)


class Model:
    """A loaded package, shared by recognisers."""

    def __init__(self, model_path: PathLike = "tiny-en", threads: int | None = None) -> None:
        self.engine: Engine = load(model_path, threads=threads)

    def __repr__(self) -> str:
        return f"<voxtral_edge.compat.vosk.Model with {self.engine!r}>"


class KaldiRecognizer:
    """One stream of 16-bit mono samples. `grammar`: a JSON list of phrases."""

    def __init__(
        self, model: Model, samplerate: float, grammar: str | None = None, delay_ms: int = DEFAULT_DELAY_MS
    ) -> None:
        self._model = model
        self._rate_hz = int(samplerate)
        self._delay_ms = delay_ms
        self._with_words = False
        self._with_partial_words = False
        self.SetGrammar(grammar or "[]")

    def __repr__(self) -> str:
        return f"<voxtral_edge.compat.vosk.KaldiRecognizer at {self._rate_hz} Hz, {self._utterances!r}>"

    def SetWords(self, enable_words: bool) -> None:
        """Whether results list their words."""
        self._with_words = bool(enable_words)

    def SetPartialWords(self, enable_partial_words: bool) -> None:
        """Whether partial results list their words."""
        self._with_partial_words = bool(enable_partial_words)

    def SetMaxAlternatives(self, max_alternatives: int) -> None:
        """0 is the only number there is."""
        if max_alternatives:
            raise UsageError("alternatives do not exist: this model decodes greedily")

    def SetGrammar(self, grammar: str) -> None:
        """Sets the phrases and starts over. "[unk]" is accepted and means nothing."""
        try:
            phrases = json.loads(grammar)
        except ValueError as error:
            raise UsageError(
                f"the grammar is not JSON ({error}); pass a list such as '[\"one two\"]'"
            ) from error
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
            raise UsageError("the grammar is not a JSON list of phrases")
        self._phrases = [phrase for phrase in phrases if phrase.strip() and phrase != "[unk]"]
        self.Reset()

    def AcceptWaveform(self, data: bytes) -> bool:
        """Decodes 16-bit little-endian mono samples; True if an utterance is over: ask for `Result`."""
        if len(data) % 2:
            raise UsageError(f"{len(data)} bytes are no whole number of 16-bit samples")
        if self._utterances.finished:
            self.Reset()
        self._utterances.accept(self._rate_hz, np.frombuffer(data, dtype="<i2").astype(np.int16))
        while self._utterances.ready and not self._utterances.over:
            decode([self._utterances])
        return self._utterances.over

    def PartialResult(self) -> str:
        """The open utterance as JSON."""
        document: dict[str, Any] = {"partial": self._utterances.text.strip()}
        if self._with_partial_words and self._utterances.words:
            document["partial_result"] = self._words()
        return json.dumps(document, ensure_ascii=False, indent=2)

    def Result(self) -> str:
        """The utterance as JSON; a new one begins."""
        document: dict[str, Any] = {}
        if self._with_words and self._utterances.words:
            document["result"] = self._words()
        document["text"] = self._utterances.text.strip()
        self._utterances.next()
        return json.dumps(document, ensure_ascii=False, indent=2)

    def FinalResult(self) -> str:
        """Decodes what is left and returns the last utterance as JSON. More samples begin a new
        recording, as in vosk, whose times count from 0."""
        self._utterances.end_input()
        while self._utterances.ready:
            decode([self._utterances])
        return self.Result()

    def Reset(self) -> None:
        """Forgets everything and starts over."""
        self._utterances = Utterances(self._model.engine, self._delay_ms, self._phrases, RULES)

    def _words(self) -> list[dict[str, Any]]:
        return [
            {
                "conf": round(word.probability, 6),
                "end": round(word.end, 3),
                "start": round(word.start, 3),
                "word": word.text,
            }
            for word in self._utterances.words
        ]


def SetLogLevel(level: int) -> None:
    """Nothing is logged; exists because vosk programs call it."""
