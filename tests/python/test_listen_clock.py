"""The clock of a sound card against the system's, on simulated clocks: days pass in seconds (fault F11)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import voxtral_edge as ve
from voxtral_edge.listen.capture import Backlog, Capture
from voxtral_edge.listen.clock_drift import ClockDrift
from voxtral_edge.listen.ring import PcmRing

DAY_S = 86400.0
RATE_HZ = 48_000
PIECE_S = 0.02


class Card:
    """Brings pieces of 20 ms of its own seconds, as a thread and a busy machine let them through."""

    def __init__(self, ppm: Callable[[float], float], seed: int = 0) -> None:
        self._ppm = ppm
        self._random = np.random.default_rng(seed)
        self.true_s = 0.0  # when the last sample was captured
        self.source_s = 0.0  # what its count says
        self.lost_s = 0.0

    def polls(self, until_s: float, every_s: float = 0.16) -> Iterator[tuple[float, float]]:
        """(seconds that have come, system clock) whenever the decoder looks, which is up to 60 ms late, and now and
        then seconds."""
        begun, looks = self.true_s, int((until_s - self.true_s) / every_s)
        late = self._random.exponential(0.02, looks).clip(0, 0.06)
        late[self._random.random(looks) < 1e-4] += 3.0
        for look in range(looks):
            now = begun + (look + 1) * every_s
            advance = (now - self.true_s) * (1 + self._ppm(now) * 1e-6)
            self.true_s, self.source_s = now, self.source_s + advance
            come = math.floor(self.source_s / PIECE_S) * PIECE_S
            yield come, 1000.0 + now + late[look] + 0.004 * self._random.random()


@pytest.mark.parametrize(
    "ppm",
    [
        lambda t: 200.0,
        lambda t: -200.0,
        lambda t: 60.0 + 20.0 * math.sin(2 * math.pi * t / DAY_S),
        lambda t: 0.0,
    ],
    ids=["fast", "slow", "temperature", "exact"],
)
def test_a_day(ppm: Callable[[float], float]) -> None:
    """Times stay within 30 ms of the true ones; uncorrected they would be 17 s off. Words keep their length and
    their order."""
    card, drift = Card(ppm), ClockDrift()
    worst_s = latest = bend_s = 0.0
    for look, (come, now) in enumerate(card.polls(DAY_S)):
        drift.observe(come, now)
        if look % 50 == 0 and card.true_s > 120:
            word = come - 2.0  # words are told some seconds behind the audio
            real = drift.real(word)
            true = card.true_s - (card.source_s - word) / (1 + ppm(card.true_s) * 1e-6)
            worst_s = max(worst_s, abs(real - true))
            bend_s = max(bend_s, abs(drift.real(word + 0.4) - real - 0.4))
            assert real > latest
            latest = real
    assert worst_s < 0.03 and bend_s < 5e-4
    assert drift.ppm == pytest.approx(ppm(DAY_S - 1800), abs=2)
    assert len(drift._starts) < 20  # memory is bounded


def test_an_hour_at_the_limits_of_the_fault_list() -> None:
    """±200 ppm: within 80 ms at every moment of the first hour, the first minutes included."""
    for ppm in (200.0, -200.0):
        card, drift = Card(lambda t, ppm=ppm: ppm), ClockDrift()
        for come, now in card.polls(3600.0):
            drift.observe(come, now)
            assert abs(drift.real(card.source_s) - card.true_s) < 0.08


def test_samples_that_the_card_lost() -> None:
    """Half a second is missing: the count is behind for ever, times are right again half a minute later."""
    card, drift = Card(lambda t: 80.0), ClockDrift()
    for come, now in card.polls(3600.0):
        drift.observe(come, now)
    card.source_s -= 0.5
    for come, now in card.polls(3640.0):
        drift.observe(come, now)
    assert abs(drift.real(card.source_s) - card.true_s) < 0.03
    assert drift.ppm == pytest.approx(80, abs=3)


def test_a_stall_of_the_machine_is_no_loss() -> None:
    card, drift = Card(lambda t: 0.0), ClockDrift()
    for come, now in card.polls(600.0):
        drift.observe(come, now)
    for come, now in card.polls(608.0):  # everything that comes is late
        drift.observe(come, now + 4.0)
    for come, now in card.polls(700.0):
        drift.observe(come, now)
    assert abs(drift.real(card.source_s) - card.true_s) < 0.03


class Microphone:
    """A source as the capture sees it: the test writes into its ring."""

    def __init__(self, live: bool) -> None:
        self.name, self.rate_hz, self.overruns, self.ended, self.error = "card", RATE_HZ, 0, False, None
        self.live = live
        self.ring = PcmRing(1)

    def start(self, ring: PcmRing) -> None:
        self.ring = ring

    def stop(self) -> None:
        self.ended = True


@pytest.mark.parametrize("live", [True, False])
def test_the_capture_moves_times_and_keeps_every_sample(live: bool) -> None:
    """A card that is 200 ppm fast for half an hour: every sample is handed out, none is lost; events of a live
    source have the system's times, those of a recording its own."""
    now = [0.0]
    source = Microphone(live)
    capture = Capture(source, Backlog(), now=lambda: now[0])
    capture.start()
    piece = np.zeros(int(RATE_HZ * 0.5), dtype=np.float32)
    for _ in range(3600):
        source.ring.write(piece)
        now[0] += 0.5 / (1 + 200e-6)
        while (pcm := capture.read(1, 8, 0.0)) is not None and len(pcm):
            pass
    assert capture.lost_samples == 0 and capture.gaps == []
    assert capture.given_s + capture.waiting_s == pytest.approx(1800.0, abs=0.2)  # the resampler holds some
    word = capture.moved(ve.WordEvent("word", 1790.0, 1790.4, 0.9, 1))
    expected = 1790.0 / (1 + 200e-6) if live else 1790.0
    assert word.start == pytest.approx(expected, abs=0.005)  # the first window knows no better
    assert word.end - word.start == pytest.approx(0.4, abs=5e-4)
