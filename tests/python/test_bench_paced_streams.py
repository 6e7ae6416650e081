"""Streams on the clock: rounds, latencies, the rule of holding real time, and the search, on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench_testing import check_schema, measured

import voxtral_edge as ve
from voxtral_edge.bench import capacity, markdown, page, report, runner
from voxtral_edge.bench.capacity import Trial, judged, most_held
from voxtral_edge.bench.paced_streams import Clock, PacedStreamsRun, run_paced_streams
from voxtral_edge.cli import main

STEP_S, MS = 0.08, 1_000_000
SHORT: dict[str, Any] = {"mode": "paced streams", "streams": 3, "seconds": 1.0, "warmup_s": 0.2}


class MadeUpStreams(Clock):
    """Streams and their clock: a round takes `fixed_ms` and `token_ms` for each token of each stream."""

    def __init__(self, streams: int, fixed_ms: float, token_ms: float) -> None:
        self.fixed_ms, self.token_ms = fixed_ms, token_ms
        self.time_ns = 10**18  # far from zero, as clocks are
        self.rounds: list[dict[int, int]] = []
        self.counters = [
            dict.fromkeys(
                ("encoded_tokens", "encode_calls", "decode_calls", "mel_ns", "encode_ns", "decode_ns"), 0
            )
            for _ in range(streams)
        ]

    def now_ns(self) -> int:
        return self.time_ns

    def wait_until(self, moment_ns: int) -> None:
        self.time_ns = max(self.time_ns, moment_ns)

    def feed(self, items: list[tuple[int, np.ndarray]]) -> None:
        taken = {stream: len(pcm) // 1280 for stream, pcm in items}
        self.rounds.append(taken)
        took_ns = int(MS * (self.fixed_ms + self.token_ms * sum(taken.values())))
        self.time_ns += took_ns
        for stream, tokens in taken.items():
            counters = self.counters[stream]
            counters["encoded_tokens"] += tokens
            counters["encode_calls"] += 1
            counters["decode_calls"] += 1
            counters["encode_ns"] += took_ns
            counters["mel_ns"] += tokens

    def stats(self) -> list[dict[str, Any]]:
        return [dict(counters) for counters in self.counters]


def endless() -> Any:
    while True:
        yield np.zeros(1280, np.float32)


def run(streams: int, fixed_ms: float, token_ms: float, steps: int = 50, **options: Any) -> Any:
    made_up = MadeUpStreams(streams, fixed_ms, token_ms)
    pieces = [endless() for _ in range(streams)]
    result = run_paced_streams(made_up, pieces, 5, steps, STEP_S, clock=made_up, **options)
    return result, made_up


def test_streams_that_do_not_meet_take_the_time_of_a_round() -> None:
    result, made_up = run(4, 6.0, 4.0)
    assert result.latency_ms.shape == (4, 50)
    assert np.allclose(result.latency_ms, 10.0)  # 20 ms apart, 10 ms each
    assert all(sum(taken.values()) == 1 for taken in made_up.rounds) and len(made_up.rounds) == 4 * 55
    assert result.busy_share(STEP_S) == pytest.approx(0.5)
    assert result.rounds.counters["encoded_tokens"] == 4 * 50 == result.rounds.counters["encode_calls"]
    assert result.rounds.counters["mel_ns"] == 200 and np.allclose(result.rounds.pass_ms["encode"], 10.0)


def test_who_arrives_during_a_round_shares_the_next() -> None:
    result, made_up = run(4, 30.0, 2.0)
    assert max(len(taken) for taken in made_up.rounds) > 1
    assert result.latency_ms.min() >= 32.0 and result.latency_ms.max() < 2 * 38.0
    shared = result.rounds.counters["encode_calls"]
    assert shared == result.rounds.counters["decode_calls"]
    assert shared == len(result.round_tokens) < result.rounds.counters["encoded_tokens"] == 200


def test_late_streams_catch_up_in_batches() -> None:
    """One hiccup of a second: afterwards all streams have much waiting and take several tokens a round."""

    class Hiccup(MadeUpStreams):
        def feed(self, items: list[tuple[int, np.ndarray]]) -> None:
            if len(self.rounds) == 40:
                self.time_ns += 1000 * MS
            super().feed(items)

    made_up = Hiccup(2, 10.0, 1.0)
    result = run_paced_streams(made_up, [endless(), endless()], 5, 100, STEP_S, clock=made_up)
    assert result is not None
    assert max(max(taken.values()) for taken in made_up.rounds) == 4  # eight tokens of a batch, two streams
    assert result.latency_ms.max() > 1000 and result.latency_ms[:, -1].max() < 40
    assert all(np.all(np.diff(row) >= 0) for row in result.finish_s)


def test_a_round_is_as_long_as_the_stream_with_most_passes() -> None:
    """Guesses of one stream fail: it decodes twice where the other is done; a round's passes are its own."""

    class Guessing(MadeUpStreams):
        def feed(self, items: list[tuple[int, np.ndarray]]) -> None:
            super().feed(items)
            for stream, _ in items:
                self.counters[stream]["decode_ns"] += (1 + stream) * MS

    made_up = Guessing(2, 60.0, 1.0)  # 40 ms apart: both are in every round
    result = run_paced_streams(made_up, [endless(), endless()], 5, 50, STEP_S, clock=made_up)
    assert result is not None
    both = result.round_tokens > 1
    assert both.any() and np.all(result.rounds.pass_ms["decode"][both] == 2.0)


def test_overload_grows_and_is_given_up() -> None:
    result, _ = run(2, 10.0, 50.0)
    trial = judged(2, False, result, STEP_S)
    assert not trial.held and trial.growth is not None and trial.growth > 0.1
    given_up, made_up = run(2, 10.0, 50.0, give_up_s=0.5)
    assert given_up is None and len(made_up.rounds) < 50
    assert judged(2, False, None, STEP_S) == Trial(2, False, None, None, False)
    assert run(2, 10.0, 4.0, give_up_s=0.5)[0] is not None


@pytest.mark.parametrize(
    ("latency_ms", "growing_ms", "held"), [(159.0, 0.0, True), (161.0, 0.0, False), (20.0, 1.0, False)]
)
def test_the_rule_is_two_steps_and_no_growth(latency_ms: float, growing_ms: float, held: bool) -> None:
    live, _ = run(2, 1.0, 1.0)
    arrival = live.arrival_s
    latency = latency_ms + growing_ms * np.arange(50) * np.array([[0.0], [1.0]])  # the second stream's
    worst = PacedStreamsRun(live.rounds, live.round_tokens, arrival, arrival + latency / 1e3)
    assert judged(2, True, worst, STEP_S).held == held


@pytest.mark.parametrize("capacity_", [*range(1, 18), 63, 64, 100, 1000])
@pytest.mark.parametrize("most", [1, 7, 64, 1024])
def test_the_search_finds_the_largest_number(capacity_: int, most: int) -> None:
    """Exactly up to 16, to a sixteenth beyond; short runs that promise too much are not believed."""
    for optimism in (0, 1, 3):
        trials = most_held(attempts(capacity_, optimism), most)
        answer, right = trials[-1], min(capacity_, most)
        assert answer.held and answer.confirmed and answer.count <= right
        assert answer.count >= right - (0 if right <= 16 and not optimism else max(1, right // 8))
        assert all(1 <= trial.count <= most for trial in trials) and len(trials) < 25


def attempts(held: int, optimism: int) -> Callable[[int, bool], Trial]:
    """Short runs hold `optimism` streams too many."""
    return lambda count, confirm: Trial(
        count, confirm, 1.0, 0.0, count <= held + (0 if confirm else optimism)
    )


def test_not_even_one_stream() -> None:
    assert [(trial.count, trial.confirmed, trial.held) for trial in most_held(attempts(0, 0), 8)] == [
        (1, False, False),
        (1, True, False),
    ]


def test_documents_of_streams_on_the_clock() -> None:
    result = measured(**SHORT)
    check_schema(result)
    paced = result["paced_streams"]
    assert result["stream_count"] == len(paced["per_stream"]) == 3 and paced["trials"] == []
    assert (
        result["step_ms"]["count"] == 3 * 12
        and len(result["samples"]["round_ms"]) == paced["round_ms"]["count"]
    )
    assert paced["worst_p99_ms"] == max(stream["p99"] for stream in paced["per_stream"])
    assert paced["bound_ms"] == 160.0 == capacity.bound_ms(0.08)
    assert result["clock"] == "wall" and result["counters"]["generated_tokens"] == 3 * 12
    assert result["passes"]["decode"]["rows"] == pytest.approx(paced["tokens_per_round"], rel=0.01)
    html = page.render(result)
    assert "real time 160 ms" in html and "median latency" in html and ">round<" in html
    assert "3 streams on the clock" in markdown.row(result) and "hold real time" in page.render(result)


def test_the_largest_number_is_searched_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_TRIAL_SECONDS", 0.24)
    monkeypatch.setattr(runner, "_TRIAL_WARMUP_S", 0.0)
    monkeypatch.setattr(runner, "_streams_in_memory", lambda _: 2)
    options = runner.BenchOptions(
        mode="paced streams", most_streams=True, threads=1, seconds=1.0, warmup_s=0.2
    )
    result = report.document(runner.run_bench(options))
    check_schema(result)
    trials = result["paced_streams"]["trials"]
    assert trials[0]["count"] == 1 and not trials[0]["confirmed"] and trials[-1]["confirmed"]
    assert trials[-1]["count"] == result["stream_count"] == len(result["paced_streams"]["per_stream"])
    assert trials[-1]["held"] == result["paced_streams"]["held"]


def test_what_does_not_hold_is_said() -> None:
    result = measured(**SHORT)
    result["paced_streams"]["held"] = False
    assert page.verdict(result) == ("bad", "3 streams do NOT hold real time.")
    assert "do NOT hold real time" in dict(markdown.plain(result))["Streams"]


@pytest.mark.parametrize(
    "words",
    [
        ["--streams", "2", "--file"],
        ["--streams", "max", "--runs", "2"],
        ["--streams", "0", "--paced"],
        ["--streams", "many"],
    ],
)
def test_wrong_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main.main(["bench", *words])
    except SystemExit as ended:  # argparse
        code = int(ended.code or 0)
    assert code == 2 and "--streams" in capsys.readouterr().err


def test_replay_is_refused() -> None:
    with pytest.raises(ve.UsageError):
        runner.BenchOptions(mode="paced streams", replay="tiny-en")
