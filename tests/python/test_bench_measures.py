"""Quantiles, histograms, noise bounds, queues and backlog: the arithmetic of the benchmark, on known
numbers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from voxtral_edge.bench import measures, traffic
from voxtral_edge.bench.measures import (
    backlog,
    histogram,
    interval,
    longest_run,
    median_index,
    quantile,
    queue_finish_times,
    ratio_interval,
    resampled,
    slope,
    summary,
)


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = np.arange(1.0, 101.0)
    assert [quantile(values, q) for q in (0.5, 0.9, 0.95, 0.99, 0.999)] == [50, 90, 95, 99, 100]
    assert quantile(np.array([3.0, 1.0]), 0.5) == 1.0


def test_summary_names_every_quantile() -> None:
    result = summary(np.array([4.0, 1.0, 2.0, 3.0]), full=True)
    assert (result["count"], result["min"], result["mean"], result["p50"], result["max"]) == (4, 1, 2.5, 2, 4)
    assert {"p90", "p95", "p99", "p99.9", "histogram", "ci95"} <= result.keys()


@pytest.mark.parametrize("scale", [1e-3, 0.3, 80.0, 5e4])
def test_histogram_counts_every_value_and_has_the_deadline_as_an_edge(scale: float) -> None:
    values = scale * np.random.default_rng(1).lognormal(0.0, 0.7, 1000)
    result = histogram(values)
    edges = np.array(result["edges"])
    assert sum(result["counts"]) == 1000 and len(result["counts"]) == len(edges) - 1
    assert edges[0] <= values.min() * 1.001 and values.max() <= edges[-1] * 1.001
    inside = [np.count_nonzero((values >= a) & (values < b)) for a, b in pairwise(edges)]
    assert np.abs(np.array(inside) - result["counts"]).sum() <= 2  # a value on an edge, rounding of the edges
    steps = 8 * np.log2(edges / measures.DEADLINE_MS)
    assert np.allclose(steps, np.round(steps), atol=1e-6)


def test_histogram_of_equal_values_is_one_bar() -> None:
    assert sum(histogram(np.full(7, 80.0))["counts"]) == 7


def test_bounds_hold_the_truth_as_often_as_they_say() -> None:
    """95 % bounds of a median, for independent values: over 100 samples they must miss about five times."""
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        low, high = interval(resampled(generator.exponential(1.0, 400), measures.STATISTICS["p50"], 200))
        hits += low <= np.log(2.0) <= high
    assert 85 <= hits <= 100
    assert interval(np.arange(201.0)) == pytest.approx((5.0, 195.0))


def test_slow_drifts_widen_the_bounds() -> None:
    """The same values in runs of 100 promise less than shuffled ones."""
    generator = np.random.default_rng(4)
    drifting = np.repeat(generator.normal(10.0, 1.0, 20), 100) + generator.normal(0.0, 0.1, 2000)
    shuffled = generator.permutation(drifting)
    wide = np.ptp(interval(resampled(drifting, measures.STATISTICS["p50"])))
    narrow = np.ptp(interval(resampled(shuffled, measures.STATISTICS["p50"])))
    assert wide > 2 * narrow


@pytest.mark.parametrize(("count", "runs"), [(3, 3), (40, 4), (100, 4), (250, 10), (1000, 20)])
def test_copies_are_made_of_runs_of_steps(count: int, runs: int) -> None:
    """Of 25 steps or a twentieth of them, but never of fewer than four runs."""
    longest = resampled(
        np.arange(float(count)), lambda copy: float(np.sum(np.diff(copy) % count != 1) + 1), 50
    )
    assert longest.max() == runs


def test_bounds_are_the_same_every_time() -> None:
    values = np.random.default_rng(5).exponential(1.0, 300)
    statistic = measures.STATISTICS["p99"]
    assert ratio_interval(values, values, statistic) == ratio_interval(values, values, statistic)
    low, high = ratio_interval(values, 2.0 * values, measures.STATISTICS["mean"])
    assert low < 2.0 < high


def test_longest_run_and_slope() -> None:
    assert longest_run(np.array([0, 1, 1, 0, 1, 1, 1, 0], bool)) == 3
    assert longest_run(np.zeros(3, bool)) == 0
    assert slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])) == pytest.approx(2.0)
    assert slope(np.array([1.0]), np.array([1.0])) == 0.0 == slope(np.ones(3), np.arange(3.0))


def test_queue_waits_for_arrival_and_for_the_step_before() -> None:
    arrival = np.array([1.0, 2.0, 3.0, 4.0])
    finish = queue_finish_times(arrival, np.array([0.5, 2.5, 0.25, 0.25]))
    assert list(finish) == [1.5, 4.5, 4.75, 5.0]


def test_backlog_of_a_stream_that_keeps_up_is_nothing() -> None:
    arrival = 0.08 * np.arange(1, 501)
    result = backlog(arrival, arrival + 0.03, 0.08)
    assert result == {"p95": 0.0, "max": 0.0, "final": 0.0, "slope": 0.0}


def test_backlog_of_a_stream_that_is_a_step_late_is_a_step() -> None:
    arrival = 0.08 * np.arange(1, 501)
    assert backlog(arrival, arrival + 0.1, 0.08) == {"p95": 0.08, "max": 0.08, "final": 0.08, "slope": 0.0}


def test_backlog_grows_when_steps_take_twice_their_audio() -> None:
    arrival = 0.08 * np.arange(1, 501)
    finish = queue_finish_times(arrival, np.full(500, 0.16))
    result = backlog(arrival, finish, 0.08)
    assert result["slope"] == pytest.approx(0.5, abs=0.01)  # a second of work decodes half a second of audio
    assert result["final"] == pytest.approx(500 * 0.08, abs=0.2) == result["max"]


def test_the_median_run_is_a_run() -> None:
    assert [median_index(values) for values in ([3.0], [3.0, 1.0], [5.0, 1.0, 3.0])] == [0, 1, 2]


def manifest() -> dict:
    """A package of two matrices per stack, dimensions small enough to count by hand."""
    tensors = {
        "encoder.conv1.weight": 100,
        "encoder.layers.0.ffn.up.weight": 200,
        "adapter.linear1.weight": 30,
        "decoder.layers.0.attention.q.weight": 400,
        "decoder.embedding.weight": 5000,
        "decoder.layers.0.delay.linear1.weight": 70,
    }
    table = {
        name: {"bytes": size, "graphs": [] if ".delay." in name else ["x"]} for name, size in tensors.items()
    }
    config = {
        "encoder": {"layers": 2, "kv_heads": 3, "head_dim": 4, "window_frames": 10},
        "adapter": {"frames_per_token": 4},
        "decoder": {"layers": 1, "kv_heads": 2, "head_dim": 8, "window_tokens": 20},
    }
    return {"tensors": table, "config": config}


def test_every_weight_of_a_graph_is_read_once_per_step() -> None:
    parts = traffic.weight_bytes_by_part(manifest())
    assert parts == {"encoder": 300, "adapter": 30, "decoder": 400, "head": 5000}


def test_attention_state_is_counted_at_the_fill_of_the_run() -> None:
    """Encoder: 2 · 2 · 3 · 4 elements of 4 B = 192 B per frame; decoder: 2 · 1 · 2 · 8 of 2 B = 64 B per
    token."""
    start = traffic.bytes_per_step(manifest(), "f32", "f16", first_token=1, steps=1)
    assert start["kv_read"] == {"encoder": 8 * 192, "decoder": 2 * 64}  # two tokens, eight frames
    assert (start["kv_write"], start["kv_positions"]) == (4 * 192 + 64, 2)
    assert start["total"] == 5730 + 8 * 192 + 2 * 64 + 4 * 192 + 64
    full = traffic.bytes_per_step(manifest(), "f32", "f16", first_token=None, steps=1)
    assert full["kv_read"] == {
        "encoder": 13 * 192,
        "decoder": 20 * 64,
    }  # 10 + 3 frames: four queries, one read
    long = traffic.bytes_per_step(manifest(), "f32", "f16", first_token=1000, steps=50)
    assert long["kv_read"] == full["kv_read"] and long["total"] == full["total"]


def test_int8_state_counts_its_scales() -> None:
    """A byte per number and a float32 per 32: 48 numbers per frame, 32 per token."""
    costs = traffic.kv_costs(manifest(), "int8", "int8")
    assert (costs["encoder"].position_bytes, costs["decoder"].position_bytes) == (54, 36)


def test_floor_is_bytes_over_bandwidth() -> None:
    assert traffic.floor_ms(2_490_000_000, 32.0) == pytest.approx(77.8, abs=0.05)
