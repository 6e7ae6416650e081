"""int8 and int4 blocks: the stored format, its accuracy, and the scale search."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import source_export  # noqa: F401 - makes voxtral_edge.export importable
from onnx import TensorProto, helper, numpy_helper

from voxtral_edge.errors import ModelFormatError
from voxtral_edge.export.quantize import dequantize_rows, quantize_rows


def gaussian(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32) * 0.02


def relative_rms(values: np.ndarray, bits: int, search: bool) -> float:
    packed, scales = quantize_rows(values, bits, "w", search)
    error = dequantize_rows(packed, scales, values.shape[1]) - values
    return float(np.sqrt(np.mean(error.astype(np.float64) ** 2) / np.mean(values.astype(np.float64) ** 2)))


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 42, 64, 100, 168])
@pytest.mark.parametrize("bits", [8, 4])
def test_every_value_is_the_nearest_level_of_its_stored_scale(bits, columns):
    values = gaussian(5, columns, seed=columns)
    packed, scales = quantize_rows(values, bits, "w")
    blocks = -(-columns // 32)
    assert packed.shape == (5, blocks, 4 * bits) and packed.dtype == np.uint8
    assert scales.shape == (5, blocks) and scales.dtype == np.float16
    low, high, zero = (-127, 127, 128) if bits == 8 else (-8, 7, 8)
    for row in range(5):
        for column in range(blocks * 32):
            block, inside = divmod(column, 32)
            if bits == 8:
                level = int(packed[row, block, inside]) - zero
            else:
                byte = int(packed[row, block, inside // 2])
                level = (byte >> 4 if inside % 2 else byte & 15) - zero
            if column >= columns:
                assert level == 0
                continue
            exact = float(values[row, column]) / float(scales[row, block])
            assert low <= level <= high
            assert abs(level - np.clip(exact, low, high)) <= 0.5 + 1e-4


@pytest.mark.parametrize("bits", [8, 4])
def test_scales_are_positive_and_finite_and_zero_only_for_zero_blocks(bits):
    values = gaussian(40, 320)
    values[3, 64:96] = 0
    values[7] = 0
    _, scales = quantize_rows(values, bits, "w")
    blocks = np.abs(values.reshape(40, 10, 32)).max(axis=2)
    assert np.isfinite(scales).all()
    np.testing.assert_array_equal(scales > 0, blocks > 0)
    assert (scales >= 0).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("search", [True, False])
def test_tiny_values_keep_a_usable_scale(bits, search):
    # Scales below 6e-5 are subnormal in fp16 and coarse: beside the usual error, half of their spacing at most.
    for magnitude in 10.0 ** np.arange(-9, -1, 0.5):
        values = gaussian(8, 640) / 0.02 * np.float32(magnitude)
        packed, scales = quantize_rows(values, bits, "w", search)
        error = dequantize_rows(packed, scales, 640) - values
        assert (scales > 0).all()
        if bits == 8 or not search:
            steps = np.repeat(scales.astype(np.float32), 32, axis=1)
            assert (np.abs(error) <= 0.501 * steps).all(), magnitude
        usual = relative_rms(gaussian(8, 640), bits, search)
        assert np.sqrt(np.mean(error**2)) <= 1.02 * usual * magnitude + 2.0**-25, magnitude


def test_search_beats_the_plain_scale_on_gaussian_and_heavy_tailed_data():
    generator = np.random.default_rng(3)
    samples = {
        "gaussian": gaussian(256, 1024),
        "laplace": generator.laplace(size=(256, 1024)).astype(np.float32),
        "student": generator.standard_t(5, size=(256, 1024)).astype(np.float32),
    }
    for name, values in samples.items():
        plain, searched = relative_rms(values, 4, search=False), relative_rms(values, 4, search=True)
        assert searched < 0.92 * plain, name
    # The numbers docs/export.md states.
    assert relative_rms(samples["gaussian"], 4, search=False) == pytest.approx(0.0970, abs=0.0005)
    assert relative_rms(samples["gaussian"], 4, search=True) == pytest.approx(0.0863, abs=0.0005)
    assert relative_rms(samples["gaussian"], 8, search=True) == pytest.approx(0.00534, abs=0.00005)


def test_search_is_never_worse_than_plain_in_any_block():
    values = gaussian(64, 32, seed=9)
    errors = []
    for search in (False, True):
        packed, scales = quantize_rows(values, 4, "w", search)
        errors.append(((dequantize_rows(packed, scales, 32) - values) ** 2).sum(axis=1))
    # Both round the scale to fp16 afterwards, hence the small slack.
    assert (errors[1] <= errors[0] * 1.01).all()


def test_strips_of_a_matrix_quantise_as_the_whole():
    values = gaussian(70, 96)
    whole = quantize_rows(values, 4, "w")
    parts = [quantize_rows(values[first : first + 13], 4, "w") for first in range(0, 70, 13)]
    for index in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[index] for part in parts]), whole[index])


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", [64, 42])
def test_onnxruntime_reads_the_same_numbers(bits, columns):
    """The identity times MatMulNBits(B) is the dequantised matrix, as onnxruntime understands the bytes."""
    values = gaussian(24, columns)
    packed, scales = quantize_rows(values, bits, "w")
    node = helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain="com.microsoft",
        K=columns,
        N=24,
        bits=bits,
        block_size=32,
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [columns, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [columns, 24])],
        [numpy_helper.from_array(packed, "w"), numpy_helper.from_array(scales.astype(np.float32), "s")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.eye(columns, dtype=np.float32)})
    np.testing.assert_allclose(result.T, dequantize_rows(packed, scales, columns), atol=1e-7)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(bits, value):
    values = gaussian(4, 64)
    values[2, 40] = value
    with pytest.raises(ModelFormatError, match=r"'layer\.7' holds values that are not finite"):
        quantize_rows(values, bits, "layer.7")
