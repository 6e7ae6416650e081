"""Several streams in shared passes: each its own audio, in turns with a lone one, tokens compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bench_testing import check_schema, measured
from front_door import sample, tiny_engine

import voxtral_edge as ve
from voxtral_edge.bench import compare, markdown, page, report, runner, speech, streams
from voxtral_edge.package_folder import read_manifest

OPTIONS: dict[str, Any] = {
    "mode": "streams",
    "streams": 3,
    "seconds": 4.0,
    "audio": str(sample("zero-to-nine.wav")),
}


def test_every_stream_says_what_it_says_alone() -> None:
    result = measured(**OPTIONS)
    check_schema(result)
    assert result["streams"]["count"] == result["streams"]["equal_streams"] == result["stream_count"] == 3
    assert result["streams"]["compared_tokens"] >= 50 and result["streams"]["distinct_tokens"] > 5
    assert result["step_ms"]["count"] == result["streams"]["lone_step_ms"]["count"] == 50
    assert result["streams"]["turns"] == 5 and result["final_latency_ms"] is None and result["energy"] is None


def test_figures_of_shared_passes_agree_with_each_other() -> None:
    result, lone = measured(**OPTIONS), measured(**{**OPTIONS, "streams": 1})
    several = result["streams"]
    assert several["audio_s_per_s"] == pytest.approx(3 / result["rtf"], rel=1e-3)
    low, high = several["throughput_ratio_range"]
    assert low <= several["throughput_ratio"] <= high
    assert result["passes"]["step"]["rows"] == result["passes"]["encode"]["rows"] == 3
    assert result["bytes"]["weights"] == lone["bytes"]["weights"]
    assert result["bytes"]["kv_read"]["decoder"] == 3 * lone["bytes"]["kv_read"]["decoder"]
    assert result["multiply_adds"] == lone["multiply_adds"]  # per stream


def test_streams_get_their_own_audio_and_the_lone_one_that_of_the_first() -> None:
    class Recording:
        """A core stream that keeps what it is fed; its tokens are the sums of the pieces."""

        def __init__(self) -> None:
            self.pieces: list[np.ndarray] = []

        def feed(self, pcm: np.ndarray) -> list[Any]:
            self.pieces.append(np.array(pcm))
            return []

        def stats(self) -> dict[str, float]:
            return dict.fromkeys(("encoded_tokens", "mel_ns", "encode_ns", "decode_ns"), 0)

        @property
        def token_ids(self) -> list[int]:
            heard = np.concatenate(self.pieces)[40:].reshape(-1, 1280)
            return [int(1e6 * row.sum()) for row in heard]

    made: list[Recording] = []

    def make() -> Recording:
        made.append(Recording())
        return made[-1]

    class Together(streams.StreamGroup):
        def feed(self, pieces: np.ndarray) -> list[Any]:
            return [stream.feed(piece) for stream, piece in zip(self.streams, pieces, strict=True)]

    feed = speech.Feed(sample("pin.ogg"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "StreamGroup", Together)
        run = streams.run_streams(make, feed, 3, 5, 33, 0.08, 40)
    assert run.equal_streams == 3 and len(run.throughput_ratios()) == 4  # 33 steps in turns of ten
    assert len(made) == 3 + 1 + 2 and len(made[0].token_ids) == 38
    assert made[0].token_ids == made[3].token_ids and made[1].token_ids != made[0].token_ids
    assert made[1].token_ids == made[4].token_ids and made[2].token_ids == made[5].token_ids


def test_a_stream_that_differs_is_found_and_said() -> None:
    """One stream of the group starts with other sound, which its lone run has not."""
    engine, options = tiny_engine(), runner.BenchOptions(mode="streams", streams=2)
    manifest, made = read_manifest(engine.directory), []

    def make() -> Any:
        stream = runner.open_core_stream(engine, options, manifest)
        made.append(stream)
        if len(made) == 2:
            stream.feed(speech.load_audio(sample("pin.ogg"))[:32_000])
        return stream

    run = streams.run_streams(make, speech.Feed(sample("zero-to-nine.wav")), 2, 6, 20, 0.08, 40)
    assert run.equal_streams == 1
    result = measured(**OPTIONS)
    result["streams"]["equal_streams"] = 2
    assert "ONLY 2 OF 3" in str(markdown.plain(result)) and page.verdict(result)[0] == "bad"


def test_the_page_and_the_summary_show_throughput() -> None:
    result = measured(**OPTIONS)
    assert "3 streams together" in page.render(result) and "× the throughput of one" in page.render(result)
    assert "3 streams together" in markdown.row(result)


def test_different_numbers_of_streams_are_not_compared() -> None:
    assert compare.conflicting(measured(**OPTIONS), measured(**{**OPTIONS, "streams": 1})) == [
        "streams: 3 / 1"
    ]


@pytest.mark.parametrize("options", [{"streams": 0}, {"streams": 2000}, {"replay": "tiny-en", "streams": 2}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ve.UsageError):
        runner.BenchOptions(mode="streams", **options)


@pytest.mark.parametrize("version", [1, 4, None])
def test_documents_of_other_versions_are_named(tmp_path: Any, version: int | None) -> None:
    report.save({**measured(), "format_version": version}, tmp_path / "other.json")
    with pytest.raises(ve.ModelFormatError, match=f"version {version}, this program reads 2 and 3"):
        report.read(tmp_path / "other.json")
