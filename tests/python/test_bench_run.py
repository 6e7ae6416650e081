"""Benchmarks of the bundled model end to end: documents, what they must agree on, and the command."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any, cast

import jsonschema
import numpy as np
import pytest
import source_export  # noqa: F401 - makes voxtral_edge.export importable from a source checkout
from bench_testing import SCHEMA, check_schema, measured
from front_door import ROOT, run_cli, sample

import voxtral_edge as ve
from voxtral_edge.bench import environment, live, markdown, memory, report, runner, speech
from voxtral_edge.export import export_package
from voxtral_edge.export.synthetic import SYNTHETIC_MODELS, SyntheticCheckpoint
from voxtral_edge.package_folder import find_package
from voxtral_edge.stream import Stream

KINDS: dict[str, dict[str, Any]] = {
    "unpaced": {},
    "paced": {"mode": "paced", "seconds": 1.0, "warmup_s": 0.2},
    "catching up": {"mode": "paced", "catch_up": True, "seconds": 1.0, "warmup_s": 0.2},
    "file": {"mode": "file", "seconds": 4.0},
    "windows full": {"kv_full": True, "seconds": 1.0},
    "two runs": {"runs": 2, "seconds": 1.0},
    "onnxruntime": {"engine": "onnxruntime", "seconds": 1.0},
    "streams": {"mode": "streams", "streams": 2, "seconds": 1.0},
    "streams on the clock": {"mode": "paced streams", "streams": 2, "seconds": 1.0, "warmup_s": 0.2},
    "replayed tokens": {"replay": "tiny-en", "mode": "file", "audio": str(sample("zero-to-nine.wav"))},
    "a recording": {"audio": str(sample("pin.ogg")), "seconds": 1.0},
}


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("kind", KINDS)
def test_every_document_is_valid(kind: str) -> None:
    check_schema(measured(**KINDS[kind]))


def test_the_documentation_defines_what_the_schema_names() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    table = text.split("## Definitions")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    properties = SCHEMA["properties"]
    known = {"ci95", *properties, *properties["file"]["anyOf"][1]["properties"]}
    for name in ("load", "bandwidth"):
        known |= {f"{name}.{key}" for key in properties[name]["properties"]}
    for name in ("streams", "paced_streams"):
        known |= {f"{name}.{key}" for key in properties[name]["anyOf"][1]["properties"]}
    known |= {f"passes.{key}" for key in SCHEMA["$defs"]["pass"]["properties"]}
    assert len(names) > 20 and names <= known, names - known


def test_the_schema_refuses_what_is_not_a_result() -> None:
    for damage in (
        {"read_gbps": None},
        {"step_ms": None},
        {"surprise": 1},
        {"deadline_miss_rate": 2},
        {"mode": "file"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check_schema({**measured(), **damage})


def test_figures_of_a_live_run_agree_with_each_other() -> None:
    result = measured()
    steps = np.array(result["samples"]["step_ms"])
    assert len(steps) == result["step_ms"]["count"] == 25  # 2 s of 80 ms
    assert result["warmup"]["step_ms"]["count"] == 6  # 0.4 s would be 5: the steps of the delay never count
    assert result["rtf"] == pytest.approx(steps.sum() / 2000.0, rel=1e-3)
    assert result["floor_ms"] == pytest.approx(result["bytes_per_step"] / result["read_gbps"] / 1e6, rel=1e-3)
    assert result["ratio_to_floor"] == pytest.approx(result["step_ms"]["p50"] / result["floor_ms"], rel=1e-2)
    low, high = sorted(result["ratio_to_floor_range"])
    assert low <= result["ratio_to_floor"] * 1.001 and result["ratio_to_floor"] <= high * 1.001
    assert result["counters"]["generated_tokens"] == 25 == result["counters"]["encoded_tokens"]
    assert result["counters"]["fed_samples"] == 25 * 1280
    assert result["algorithmic_latency_ms"] == 80 + 2.5 + 480
    stages = result["stage_ms"]
    assert list(stages) == ["mel", "conv", "encoder", "adapter", "decoder", "head", "other"]
    assert sum(stage["mean"] for stage in stages.values()) == pytest.approx(
        result["step_ms"]["mean"], rel=0.01
    )
    assert all(min(result["samples"][f"{name}_ms"]) > 0 for name in live.STAGES)
    peak = result["integer_peak"]
    assert peak["min"] <= result["integer_peak_gmacs"] == peak["median"] <= peak["max"]
    step = result["passes"]["step"]
    assert (
        step["multiply_adds"] == result["multiply_adds"]["total"] and step["ms"] == result["step_ms"]["p50"]
    )
    for name, parts in (("encode", ("conv", "encoder", "adapter")), ("decode", ("decoder", "head"))):
        # A pass is its stages, and what the calls around them take.
        assert result["passes"][name]["ms"] >= 0.99 * sum(stages[part]["min"] for part in parts) > 0
    assert result["final_latency_ms"] > 0
    package = find_package("tiny-en")
    assert result["package"]["manifest_sha256"] == environment.package(package, {})["manifest_sha256"]
    assert result["bytes"]["weights"]["head"] > 0 and result["weights_mb"] > 1


class SlowStream:
    """Takes 0.2 s for every feed, however long; remembers the lengths."""

    def __init__(self) -> None:
        self.samples: list[int] = []

    def feed(self, pcm: np.ndarray) -> None:
        self.samples.append(len(pcm))
        time.sleep(0.2)

    def stats(self) -> dict[str, float]:
        return dict.fromkeys(("encoded_tokens", "mel_ns", "encode_ns", "decode_ns"), 0)


@pytest.mark.parametrize("catch_up", [False, True])
def test_catching_up_feeds_what_has_arrived(catch_up: bool) -> None:
    """A stream that needs 0.2 s per feed falls behind with feeds of 80 ms; catching up makes them longer."""
    stream, pieces = SlowStream(), speech.Feed().pieces(1280)
    result = live.run_live(cast(Stream, stream), pieces, 2, 18, 0.08, paced=True, catch_up=catch_up)
    assert sum(stream.samples) == 20 * 1280 and len(result.step_ms) == 18
    assert (max(stream.samples) > 1280) == catch_up and (result.feeds < 18) == catch_up
    assert result.step_ms.sum() >= 200.0 * result.feeds - 1e-6
    if not catch_up:
        assert result.missed(0.08)[-1] and (result.finish_s - result.arrival_s)[-1] > 1.0


def test_the_machine_is_probed_during_runs_of_models_that_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bundled model lives in the cache, which a probe would clear: it is probed before and after alone."""
    assert measured()["bandwidth"]["during"] == []
    monkeypatch.setattr(environment, "last_level_cache_mb", lambda: 0.5)
    for options, probes in (({"seconds": 4.0}, 3), ({"seconds": 8.0, "mode": "file"}, 2)):
        chosen = runner.BenchOptions(threads=1, warmup_s=0.0, **options)  # type: ignore[arg-type]
        result = report.document(runner.run_bench(chosen))
        check_schema(result)
        # Live: before steps 0, 25 and 50 of 56; file: before blocks 0 and 4 of 7.
        assert len(result["bandwidth"]["during"]) == probes and result["memory_bound"]


def test_full_windows_cost_what_they_hold() -> None:
    filling, full = measured(), measured(**KINDS["windows full"])
    assert (filling["kv"], full["kv"]) == ("filling", "full")
    assert full["bytes_per_step"] == full["bytes"]["total_kv_full"] >= filling["bytes_per_step"]
    assert measured(**KINDS["onnxruntime"])["kv"] == "always full"


def test_stages_are_named_only_where_the_engine_knows_them() -> None:
    result = measured(**KINDS["onnxruntime"])
    assert list(result["stage_ms"]) == ["mel", "encode", "decode", "other"]
    assert result["passes"]["encode"]["ms"] == pytest.approx(result["stage_ms"]["encode"]["p50"], abs=1e-3)
    assert list(measured(**KINDS["file"])["file"]["stage_ms_per_token"]) == list(live.STAGES)


def test_a_recording_is_decoded_whole() -> None:
    result = measured(**KINDS["file"])
    assert result["file"]["audio_s"] == 4.0 and result["step_ms"] is None
    assert result["counters"]["fed_samples"] == 4 * 16000
    assert result["file"]["tokens_per_encode_pass"] > 2  # batched


def test_replayed_tokens_are_guessed_as_on_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights with the demo model's tokens share decode passes exactly as the demo model does."""
    tiny = SYNTHETIC_MODELS["tiny"]
    vocabulary = {"vocab_size": 2048}  # as many tokens as the demo model
    decoder, tokens = replace(tiny.decoder, **vocabulary), replace(tiny.tokens, **vocabulary)
    monkeypatch.setitem(SYNTHETIC_MODELS, "tiny", replace(tiny, decoder=decoder, tokens=tokens))
    export_package(SyntheticCheckpoint("tiny"), tmp_path / "package", precision="int8")
    audio = {"audio": str(sample("zero-to-nine.wav")), "mode": "file", "seconds": 6.0}
    # Loading times the head to choose how many guesses a pass takes: not the same on a busy machine.
    core_stream = ve.Engine.core_stream
    monkeypatch.setattr(ve.Engine, "core_stream", partialmethod(core_stream, max_drafts=3))
    demo = measured(**audio)
    random = measured(**audio, model=str(tmp_path / "package"))
    replayed = measured(**audio, model=str(tmp_path / "package"), replay="tiny-en")
    assert demo["file"]["tokens_per_decode_pass"] == replayed["file"]["tokens_per_decode_pass"]
    assert random["file"]["tokens_per_decode_pass"] != replayed["file"]["tokens_per_decode_pass"]
    assert replayed["audio"]["replayed"]["model"] == "tiny-en"


def test_runs_are_all_kept_and_the_median_one_shown() -> None:
    result = measured(**KINDS["two runs"])
    medians = sorted(run["step_ms"]["p50"] for run in result["runs"])
    assert len(medians) == 2 and result["step_ms"]["p50"] == medians[0]


def test_random_weights_are_labelled(tmp_path: Path) -> None:
    export_package(SyntheticCheckpoint("tiny"), tmp_path / "package", precision="int4")
    result = measured(model=str(tmp_path / "package"), seconds=1.0)
    assert result["package"]["random_weights"] and "timing valid, accuracy not" in result["note"]
    assert result["precision"] == "int4 (adapter int8)"
    assert measured()["package"]["random_weights"] is False


def test_documents_survive_saving(tmp_path: Path) -> None:
    result = measured()
    report.save(result, tmp_path / "a.json")
    assert report.read(tmp_path / "a.json") == json.loads(json.dumps(result))
    longest = max(len(line) for line in (tmp_path / "a.json").read_text().splitlines())
    assert longest > 100  # lists of numbers stay on one line: a diff shows figures, not samples


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x"}', '{"format": "voxtral-edge-bench"}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ve.ModelFormatError, match=r"a\.json"):
        report.read(tmp_path / "a.json")


@pytest.mark.parametrize(
    "options",
    [
        {"seconds": 0.5},
        {"seconds": float("nan")},
        {"warmup_s": -1.0},
        {"runs": 0},
        {"mode": "fast"},
        {"delay_ms": 81},
        {"kv_full": True, "engine": "onnxruntime"},
        {"kv_full": True, "mode": "file"},
        {"catch_up": True},
    ],
)
def test_wrong_options_are_refused_before_anything_runs(options: dict[str, Any]) -> None:
    with pytest.raises(ve.UsageError):
        runner.BenchOptions(**options)


def test_made_sound_has_a_level_and_pauses() -> None:
    sound = speech.speech_like(5.0)
    assert sound.dtype == np.float32 and len(sound) == 80_000 and 0.3 < np.abs(sound).max() < 1.0
    loudness = np.array([np.sqrt(np.mean(part**2)) for part in np.split(sound, 100)])
    assert loudness.max() > 10 * loudness.min() > 0
    assert np.array_equal(sound, speech.speech_like(5.0))


def test_pieces_loop_without_a_gap() -> None:
    feed = speech.Feed(sample("pin.ogg"))
    pieces = feed.pieces(1280)
    count = 3 * len(feed.samples) // 1280
    joined = np.concatenate([next(pieces) for _ in range(count)])
    assert np.array_equal(joined, np.resize(feed.samples, count * 1280))


def test_page_cache_and_peak_memory_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "bytes"
    file.write_bytes(bytes(1 << 20))
    assert memory.cached_share(file) in (None, 1.0)
    assert memory.read_seconds(file, 2) > 0
    memory.reset_peak_rss()
    before = memory.peak_rss_bytes()
    assert np.ones(8_000_000).sum() == 8_000_000
    assert memory.peak_rss_bytes() >= before + 50_000_000 or not memory.reset_peak_rss()


def test_other_programs_are_noticed() -> None:
    result = environment.Interference().result()
    assert result["own_cpus"] >= 0 and (result["quiet"] is None or result["other_cpus"] >= 0)


def test_git_revision_is_that_of_this_checkout() -> None:
    revision = environment.git_revision()
    if (ROOT / ".git").exists() and revision is not None:
        assert len(revision.removesuffix("+changes")) == 40


def test_precision_names() -> None:
    assert environment.precision_name({"a": "int4", "b": "int4"}) == "int4"
    assert environment.precision_name({"a": "int4", "b": "int4", "c": "int8"}) == "int4 (c int8)"


def test_rows_of_a_table_have_its_columns() -> None:
    lines = markdown.table([measured(), measured(**KINDS["file"])])
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 4


def test_command_writes_everything(tmp_path: Path) -> None:
    code, output, errors = run_cli(
        "bench", "--seconds", 1, "--warmup", 0.2, "--threads", 1,
        "--json", tmp_path / "a.json", "--html", tmp_path / "a.html",
    )  # fmt: skip
    assert code == 0, errors
    result = json.loads((tmp_path / "a.json").read_text())
    check_schema(result)
    assert result["command"] == "voxtral-edge bench -m tiny-en --seconds 1 --warmup 0.2 --threads 1"
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert "p99" in output and "Deadline" in output
    code, text, _ = run_cli("bench", "compare", tmp_path / "a.json", tmp_path / "a.json")
    assert code == 0 and "no difference beyond noise" in text


def test_command_reports_wrong_usage() -> None:
    assert run_cli("bench", "--seconds", 0)[0] == 2
    assert run_cli("bench", "compare", "only-one.json")[0] == 2
    assert run_cli("bench", "--paced", "--file")[0] == 2
