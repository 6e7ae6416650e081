"""When an utterance is over.

Silence is judged twice: by the model, which emits a pad for every 80 ms without text, and by the energy of
the audio, which knows it earlier. An utterance ends when one of the rules is met; the three default rules are
the ones sherpa-onnx made common.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from voxtral_edge.audio import SAMPLE_RATE_HZ, PcmArray, as_floats
from voxtral_edge.errors import UsageError
from voxtral_edge.events import TextEvent, WordEvent
from voxtral_edge.live_step import TOKEN_S

_FRAME_SAMPLES = 320  # 20 ms: short enough to see the pause between two words
SILENCE_DB = -70.0


@dataclass(frozen=True, slots=True)
class EndpointRule:
    """Met when the last `silence_s` seconds were silent, the utterance is at least `utterance_s` long, and, with
    `needs_text`, something was said in it."""

    silence_s: float
    needs_text: bool = False
    utterance_s: float = 0.0

    def __post_init__(self) -> None:
        if self.silence_s < 0 or self.utterance_s < 0 or not self.silence_s + self.utterance_s > 0:
            raise UsageError(
                f"an utterance's end with silence_s {self.silence_s:g} and utterance_s {self.utterance_s:g}: seconds "
                "must not be negative, and not both 0"
            )


# Nobody has spoken; somebody has and stopped; somebody does not stop.
DEFAULT_RULES = (
    EndpointRule(silence_s=2.4),
    EndpointRule(silence_s=1.2, needs_text=True),
    EndpointRule(silence_s=0.0, utterance_s=20.0),
)


class LevelMeter:
    """Loudness of what was heard, and when there was last anything louder than the background.

    The background follows the quietest frames: down at once, up by 3 dB per second, so that a fan that starts
    is background after some seconds. Sound is what exceeds it by `margin_db`.

    level_db      root mean square of the last piece, dBFS (0 is full scale; -120 at most below)
    last_sound_s  end of the last 20 ms frame with sound, in seconds of heard audio; 0.0 before any
    """

    def __init__(self, margin_db: float = 9.0) -> None:
        self.margin_db = margin_db
        self.level_db = -120.0
        self.last_sound_s = 0.0
        self._floor_db = SILENCE_DB
        self._heard_samples = 0
        self._rest = np.zeros(0, dtype=np.float32)

    @property
    def heard_s(self) -> float:
        """Seconds heard so far, whole frames."""
        return self._heard_samples / SAMPLE_RATE_HZ

    def hear(self, pcm: PcmArray) -> None:
        """Takes 16 kHz samples; NaN and infinity are silence, as for the model."""
        finite = np.nan_to_num(as_floats(pcm), posinf=0.0, neginf=0.0)
        samples = np.concatenate([self._rest, finite])
        frames = len(samples) // _FRAME_SAMPLES
        self._rest = samples[frames * _FRAME_SAMPLES :].copy()
        if not frames:
            return
        blocks = samples[: frames * _FRAME_SAMPLES].reshape(frames, _FRAME_SAMPLES).astype(np.float64)
        powers = np.mean(blocks * blocks, axis=1)
        self.level_db = _db(float(np.mean(powers)))
        for power in powers:
            self._heard_samples += _FRAME_SAMPLES
            self._judge(_db(float(power)))

    def _judge(self, level_db: float) -> None:
        self._floor_db += 3.0 * _FRAME_SAMPLES / SAMPLE_RATE_HZ
        self._floor_db = max(SILENCE_DB, min(self._floor_db, level_db))
        if level_db > self._floor_db + self.margin_db:
            self.last_sound_s = self.heard_s


class Endpointer:
    """Says when an utterance is over. Feed it the audio and the events of one stream, in any pieces.

    delay_s     the stream's delay: so much of the audio the model has heard but not yet written
    rules       any of them ends the utterance
    use_energy  False judges by the model's silence alone
    """

    def __init__(
        self,
        delay_s: float,
        rules: Sequence[EndpointRule] = DEFAULT_RULES,
        use_energy: bool = True,
        meter: LevelMeter | None = None,
    ) -> None:
        self.meter = meter or LevelMeter()
        self._delay_s = delay_s
        self._rules = tuple(rules)
        self._use_energy = use_energy
        self._begun_s = 0.0
        self._tokens = 0
        self._last_text_token: int | None = None

    def decoded(self, events: Iterable[object], generated_tokens: int) -> bool:
        """Takes a step's events and the stream's count of generated tokens; whether the utterance is over. If so, the
        next one begins here."""
        self._tokens = generated_tokens
        for event in events:
            if isinstance(event, (TextEvent, WordEvent)):
                self._last_text_token = event.token
        if not any(self._met(rule) for rule in self._rules):
            return False
        self._begun_s = self.meter.heard_s
        self._last_text_token = None
        return True

    @property
    def silence_s(self) -> float:
        """How long it has been silent, by the model and (with use_energy) by the energy too; never longer than the
        utterance."""
        utterance_s = self.meter.heard_s - self._begun_s
        silent = utterance_s
        if self._last_text_token is not None:
            # The token just generated is about the audio `delay` ago.
            silent = (self._tokens - 1 - self._last_text_token) * TOKEN_S + self._delay_s
        if self._use_energy:
            silent = min(silent, self.meter.heard_s - self.meter.last_sound_s)
        return max(0.0, min(silent, utterance_s))

    def _met(self, rule: EndpointRule) -> bool:
        if rule.needs_text and self._last_text_token is None:
            return False
        utterance_s = self.meter.heard_s - self._begun_s
        return utterance_s >= rule.utterance_s and self.silence_s >= rule.silence_s


def _db(power: float) -> float:
    return 10.0 * float(np.log10(max(power, 1e-12)))
