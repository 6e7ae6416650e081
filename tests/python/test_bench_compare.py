"""`bench compare` on made-up results: what counts as a difference, and what may not be compared."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_testing import check_schema, made_up

import voxtral_edge as ve
from voxtral_edge.bench import compare, report


def times(seed: int, factor: float = 1.0, steps: int = 2000) -> np.ndarray:
    """Step times around 60 ms with a tail."""
    generator = np.random.default_rng(seed)
    return factor * (60.0 + generator.gamma(2.0, 1.5, steps))


def verdicts(base: dict[str, Any], other: dict[str, Any]) -> dict[str, str]:
    return {item.figure: item.verdict for item in compare.differences(base, other)}


def test_made_up_results_are_valid_documents() -> None:
    check_schema(made_up(times(0)))


def test_the_same_distribution_is_no_difference() -> None:
    found = verdicts(made_up(times(1)), made_up(times(2)))
    assert found == dict.fromkeys(("median step", "p99 step", "mean step"), "no difference beyond noise")


def test_five_percent_is_found_in_both_directions() -> None:
    slow, fast = made_up(times(1, 1.05)), made_up(times(2))
    assert set(verdicts(fast, slow).values()) == {"slower"}
    assert set(verdicts(slow, fast).values()) == {"faster"}
    median = compare.differences(fast, slow)[0]
    assert median.ratio == pytest.approx(1.05, abs=0.01) and median.low < 1.05 < median.high


def test_a_longer_tail_is_found_at_p99_alone() -> None:
    base, other = times(1), times(2)
    other[::50] *= 2.0
    assert verdicts(made_up(base), made_up(other))["p99 step"] == "slower"
    assert verdicts(made_up(base), made_up(other))["median step"] == "no difference beyond noise"


def test_few_steps_say_nothing_about_p99() -> None:
    found = verdicts(made_up(times(1, steps=200)), made_up(times(2, steps=200)))
    assert "p99 step" not in found and "median step" in found


def test_spread_between_runs_widens_the_bounds() -> None:
    base, other = made_up(times(1, 1.05)), made_up(times(2))
    run = copy.deepcopy(other["runs"][0])
    run["step_ms"]["p50"] *= 1.3
    other["runs"].append(run)
    found = verdicts(base, other)
    assert found["median step"] == "no difference beyond noise" and found["mean step"] == "faster"


def test_a_document_of_the_version_before_can_be_the_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Version 2 timed three stages, which a comparison does not look at."""
    old = made_up(times(1))
    old["format_version"] = 2
    old["stage_ms"] = {name: old["stage_ms"]["mel"] for name in ("mel", "encode", "decode", "other")}
    report.save(old, tmp_path / "old.json")
    report.save(made_up(times(2, 1.05)), tmp_path / "new.json")
    files = [str(tmp_path / name) for name in ("old.json", "new.json")]
    assert compare.main(files, False, None, False) == 0
    assert "slower" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "other"}, "model: tiny-en / other"),
        ({"kv": "full"}, "attention windows: filling / full"),
        ({"mode": "paced"}, "kind of measurement"),
        ({"delay_ms": 960}, "delay"),
    ],
)
def test_other_models_and_measurements_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], named: str
) -> None:
    paths = saved(tmp_path, made_up(times(1)), made_up(times(2), **changes))
    with pytest.raises(ve.UsageError, match=named) as refusal:
        compare.main(paths, False, None, False)
    assert "--force" in str(refusal.value)
    assert compare.main(paths, True, None, False) == 0
    assert named.split(":")[0] in capsys.readouterr().out


def test_other_machines_are_refused(tmp_path: Path) -> None:
    other = made_up(times(2))
    other["machine"]["cpu"] = "something else"
    with pytest.raises(ve.UsageError, match=r"CPU: .* / something else"):
        compare.main(saved(tmp_path, made_up(times(1)), other), False, None, False)


def test_what_may_differ_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = made_up(times(2), threads=3, isa="scalar", git_revision="f" * 40)
    assert compare.main(saved(tmp_path, made_up(times(1)), other), False, None, False) == 0
    printed = capsys.readouterr().out
    assert "threads: 1 / 3" in printed and "/ scalar" in printed and "f" * 12 in printed
    assert "f" * 13 not in printed


def test_a_noisy_machine_is_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = made_up(times(2))
    other["interference"] |= {"quiet": False, "other_cpus": 2.5}
    compare.main(saved(tmp_path, made_up(times(1)), other), False, None, False)
    assert "not quiet (2.5 CPUs" in capsys.readouterr().out


@pytest.mark.parametrize(("percent", "code"), [(None, 0), (20.0, 0), (5.0, 1)])
def test_builds_can_fail_on_slower_results(tmp_path: Path, percent: float | None, code: int) -> None:
    paths = saved(tmp_path, made_up(times(1)), made_up(times(2, 1.1)))
    assert compare.main(paths, False, percent, False) == code


def test_several_results_and_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = saved(tmp_path, made_up(times(1)), made_up(times(2)), made_up(times(3, 1.2)))
    assert compare.main(paths, False, None, True) == 0
    printed = capsys.readouterr().out
    assert printed.count("### ") == 2 and printed.count("| median step |") == 2


def test_one_file_or_a_negative_limit_is_wrong_usage(tmp_path: Path) -> None:
    paths = saved(tmp_path, made_up(times(1)), made_up(times(2)))
    with pytest.raises(ve.UsageError):
        compare.main(paths[:1], False, None, False)
    with pytest.raises(ve.UsageError):
        compare.main(paths, False, -1.0, False)


def saved(folder: Path, *results: dict[str, Any]) -> list[str]:
    paths = [str(folder / f"result{number}.json") for number in range(len(results))]
    for path, result in zip(paths, results, strict=True):
        report.save(result, path)
    return paths
