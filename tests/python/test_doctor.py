"""`voxtral-edge doctor`: the arithmetic of its prediction, its verdicts, and what it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from front_door import run_cli

import voxtral_edge as ve
from voxtral_edge._native import native_module
from voxtral_edge.cli.doctor import MARGIN, predict
from voxtral_edge.machine import cpu_model, free_disk_bytes, memory_bytes
from voxtral_edge.package_folder import find_package, read_manifest
from voxtral_edge.step_cost import StepCost, StepPart, cost_of_full_model, cost_of_manifest

# The published model (specification §1.2): linear parameters, and what always stays float32.
LINEAR_PARAMETERS = 964_689_920 + 25_165_824 + 3_026_190_336 + 402_653_184
FLOAT_PARAMETERS = 5_406_720 + 461_568
ADAPTER_PARAMETERS = 25_165_824


@pytest.mark.parametrize(
    ("precision", "bytes_per_weight"), [("int4", 0.5625), ("int8", 1.0625), ("fp16", 2), ("fp32", 4)]
)
def test_weight_bytes_follow_from_the_dimensions(precision: str, bytes_per_weight: float) -> None:
    """Block 32 with one fp16 scale: 4.5 and 8.5 bits per weight; int4 keeps the adapter in int8."""
    cost = cost_of_full_model(precision)
    expected = LINEAR_PARAMETERS * bytes_per_weight + 4 * FLOAT_PARAMETERS
    assert cost.weight_bytes == expected + (ADAPTER_PARAMETERS * 0.5 if precision == "int4" else 0)


@pytest.mark.parametrize(("precision", "bytes_per_frame"), [("int4", 262_144), ("int8", 524_288)])
def test_state_bytes_follow_from_the_dimensions(precision: str, bytes_per_frame: int) -> None:
    """Windows full: 106,496 B per token in the decoder (fp16), and in the encoder fp16 beside int4 weights, else
    fp32."""
    cost = cost_of_full_model(precision)
    assert cost.kv_bytes == 106_496 * 8192 + bytes_per_frame * 750
    assert (cost.step_ms, cost.window_seconds) == (80.0, pytest.approx(655.36))


def test_a_package_costs_what_its_weights_weigh() -> None:
    package = find_package("tiny-en")
    cost = cost_of_manifest(read_manifest(package))
    assert (
        0.95 * (package / "weights.bin").stat().st_size
        < cost.weight_bytes
        <= (package / "weights.bin").stat().st_size
    )


def test_floor_is_bytes_over_bandwidth() -> None:
    cost = StepCost(weight_bytes=2_500_000_000, kv_bytes=1_000_000_000, step_ms=80.0, window_seconds=600.0)
    assert cost.floor_ms(25.0, full_window=False) == pytest.approx(100.0)
    assert cost.floor_ms(25.0, full_window=True) == pytest.approx(140.0)


@pytest.mark.parametrize(
    ("read_gbps", "memory", "verdict", "live"),
    [
        (10.0, 16e9, "at best 3.1x slower", False),  # Raspberry Pi 5
        (15.0, 16e9, "at best 2.1x slower", False),
        (20.0, 16e9, "with --step-ms 640", False),
        (25.4, 16e9, "with --step-ms 320", False),
        (50.0, 16e9, "with --step-ms 160", False),
        (77.0, 8e9, "keeps up live", True),  # Orin Nano Super
        (77.0, 3e9, "does not fit", False),
    ],
)
def test_verdicts(read_gbps: float, memory: float, verdict: str, live: bool) -> None:
    cost = StepCost(weight_bytes=2_490_000_000, kv_bytes=1_070_000_000, step_ms=80.0, window_seconds=600.0)
    prediction = predict("int4", cost, read_gbps, int(memory), {})
    assert "cores" not in prediction.verdict
    assert verdict in prediction.verdict
    assert prediction.live is live
    if live:
        assert prediction.full_ms * MARGIN <= 80


def test_each_part_takes_the_longer_of_reads_and_products() -> None:
    """Float weights, 1 GB with 1 row, of which the reads last longer, and 0.2 GB with 4 rows, bound by cores."""
    parts = (
        StepPart(1, 0, 100_000_000, 0),
        StepPart(1, 4, 1_000_000_000, 2_000_000_000),
        StepPart(4, 4, 200_000_000, 1_600_000_000),
    )
    cost = StepCost(1_300_000_000, 500_000_000, 80.0, 600.0, parts)
    rates = {(4, 1): 40e9, (4, 4): 50e9}
    assert cost.compute_ms(rates) == pytest.approx(50 + 32)
    # At 10 GB/s: 10 ms of float weights, max(100, 50), max(20, 32); full windows read another 50 ms.
    assert cost.predicted_ms(10.0, rates, False) == pytest.approx(10 + 100 + 32)
    assert cost.predicted_ms(10.0, rates, True) == pytest.approx(10 + 100 + 32 + 50)
    assert cost.predicted_ms(1e6, rates, False) == pytest.approx(cost.compute_ms(rates), rel=1e-3)


def test_larger_steps_share_passes() -> None:
    """Steps of two tokens: one encoder pass with eight rows, 1.25 decode passes with two."""
    parts = (
        StepPart(1, 0, 100_000_000, 0),
        StepPart(1, 4, 1_000_000_000, 2_000_000_000),
        StepPart(4, 4, 200_000_000, 1_600_000_000),
    )
    cost = StepCost(1_300_000_000, 500_000_000, 80.0, 600.0, parts)
    rates = {(4, 1): 40e9, (4, 2): 30e9, (4, 4): 50e9, (4, 16): 1e15, (8, 2): 1e15}
    # At 10 GB/s, per two tokens: 10 ms of float weights, max(100, 4e9 / 30e9) and 50 ms of full windows 1.25 times,
    # max(20, 3.2e9 / 50e9) once.
    expected = (1.25 * (10 + 133.333 + 50) + 64) / 2
    assert cost.predicted_ms(10.0, rates, True, 2) == pytest.approx(expected, rel=1e-5)


def test_slow_cores_are_named_and_decide() -> None:
    """Memory as fast as an Orin Nano Super's, and six cores that multiply slower than it reads."""
    cost = cost_of_full_model("int4")
    fast = {(4, 1): 1e15, (4, 4): 1e15, (8, 1): 1e15}
    slow = {(4, 1): 6 * 19e9, (4, 4): 6 * 23.5e9, (8, 1): 6 * 19e9}
    assert predict("int4", cost, 77.0, int(8e9), fast).live
    prediction = predict("int4", cost, 77.0, int(8e9), slow)
    assert not prediction.live and "the cores are the limit" in prediction.verdict
    assert prediction.start_ms > 1.7 * prediction.reads_ms


def test_products_follow_from_the_dimensions() -> None:
    """The encoder's weights meet four frames, all others one row (7.3 G multiply-adds)."""
    cost = cost_of_full_model("int4")
    encoder = 964_689_920
    assert sum(part.bytes for part in cost.parts) == cost.weight_bytes
    assert {(part.bits, part.rows): part.multiply_adds for part in cost.parts if part.bits} == {
        (4, 4): 4 * encoder,
        (4, 1): LINEAR_PARAMETERS - encoder - ADAPTER_PARAMETERS,
        (8, 1): ADAPTER_PARAMETERS,
    }
    assert not any(part.bits for part in cost_of_full_model("fp16").parts)


def test_products_that_no_kernel_has() -> None:
    for bits, rows in ((3, 1), (4, 0)):
        with pytest.raises(ve.UsageError):
            native_module().measure_product_rate(bits=bits, rows=rows, threads=1)


def test_the_cache_of_weights_is_shown(tmp_path: Path) -> None:
    ve.load("tiny-en", threads=1, cache_packed=tmp_path)
    code, out, _ = run_cli("doctor", "--megabytes", 32, env={"VOXTRAL_EDGE_CACHE_PACKED": str(tmp_path)})
    assert code == 0
    (line,) = [line for line in out.splitlines() if "Packed cache" in line]
    assert str(tmp_path) in line and "tiny-en (" in line and " made and used;" in line


def test_json_is_complete_and_agrees_with_the_interface() -> None:
    code, out, err = run_cli("doctor", "--json", "--megabytes", 32, "--threads", 2)
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["kernels_active"] == ve.kernels.active()
    assert facts["kernels_available"] == ve.kernels.available()
    assert facts["threads"] == 2 and facts["read_gbps"] > 0.1
    assert facts["self_test"]["ok"] and "tiny-en" in facts["bundled_models"]
    assert facts["memory_bytes"] >= facts["memory_available_bytes"] > 0
    assert [item["model"] for item in facts["predictions"]] == ["int4", "int8"]
    for item in facts["predictions"]:
        expected = item["weight_bytes_per_step"] / (facts["read_gbps"] * 1e6)
        assert item["step_ms_reads"] == pytest.approx(expected, rel=1e-4)
        reads, products = item["step_ms_reads"], item["step_ms_products"]
        assert max(reads, products) - 2e-3 <= item["step_ms_start"] <= reads + products + 2e-3
        assert item["step_ms_full"] > item["step_ms_start"]
    assert set(facts["product_gmacs"]) == {"int4 x 1", "int4 x 4", "int8 x 1", "int8 x 4"}
    assert all(rate > 0 for rate in facts["product_gmacs"].values())


def test_text_says_what_matters() -> None:
    code, out, _ = run_cli("doctor", "--megabytes", 32)
    assert code == 0
    for wanted in (
        "CPU",
        "Kernels",
        "Memory reads",
        "GB/s",
        "Disk",
        "Self test",
        "int4",
        "int8",
        "floor",
    ):
        assert wanted in out
    assert "(active)" in out and ve.kernels.active() in out
    assert len(re.findall(r"^ {12}(keeps up|not live|falls behind|borderline|does not fit)", out, re.M)) == 2
    assert max(map(len, out.splitlines())) <= 160


def test_terminals_without_the_characters_are_no_error() -> None:
    code, out, err = run_cli("doctor", "--megabytes", 32, env={"PYTHONIOENCODING": "ascii"})
    assert (code, err) == (0, "")
    assert "start ? full" in out


def test_a_package_of_ones_own() -> None:
    code, out, _ = run_cli("doctor", "--megabytes", 32, "-m", "tiny-en")
    assert code == 0
    assert "tiny-en" in out and "keeps up live" in out


def test_forced_kernels_are_reported() -> None:
    code, out, _ = run_cli("doctor", "--megabytes", 32, env={"VOXTRAL_EDGE_ISA": "scalar"})
    assert code == 0
    assert "scalar (forced by VOXTRAL_EDGE_ISA)" in out


def test_a_name_of_no_kernels_is_wrong_usage() -> None:
    code, _, err = run_cli("doctor", "--megabytes", 32, env={"VOXTRAL_EDGE_ISA": "no-such-isa"})
    assert code == 2
    assert err.startswith("voxtral-edge: error: ") and "scalar" in err and err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--threads", 0], ["--megabytes", 0], ["-m", "no-such-model"]])
def test_wrong_usage(arguments: list[object]) -> None:
    code, _, err = run_cli("doctor", *arguments)
    assert code == 2 and err.startswith("voxtral-edge: error: ")


def test_machine_facts_are_plausible(tmp_path: Path) -> None:
    assert cpu_model()
    total, available = memory_bytes()
    assert total > 1e8
    assert 0 < available <= total
    assert free_disk_bytes(tmp_path / "not" / "there") == free_disk_bytes(tmp_path)
