"""Block quantisation of weight rows to int8 and int4 in onnxruntime's MatMulNBits layout (block 32).

A value w becomes q * scale with one fp16 scale per 32 columns of a row. Values are always quantised against
the scale as fp16 stores it, never against the float32 scale it was rounded from.

Everything works on blocks transposed to [32, blocks]: maxima and sums over a block are then plain sums of 32
long rows, which numpy vectorises (13 times faster than reducing rows of 32), and cache-sized pieces keep it
in L2.
"""

from __future__ import annotations

import numpy as np

from voxtral_edge.errors import ModelFormatError

BLOCK = 32
# 2048 blocks x 32 values x 4 B = 256 KiB: three such arrays fit a 1 MiB L2 cache.
_PIECE_BLOCKS = 2048

# Candidate scales of an int4 block are absmax / divisor. 7 keeps the largest value exact; 8 uses the full
# range [-8, 7] when the largest value is negative; beyond that the largest value is clipped for finer steps
# elsewhere, which pays off for most blocks. Relative rms on Gaussian data: 7 alone 0.0970, 8 alone 0.0937,
# this grid 0.0863, the best of 160 candidates 0.0858.
INT4_DIVISORS = (6.8, 7.0, 7.2, 7.4, 7.6, 7.8, 8.0, 8.2, 8.4, 8.6, 9.0, 9.5, 10.0)
INT4_DIVISORS_PLAIN = (7.0,)


def quantize_rows(
    rows: np.ndarray, bits: int, name: str, search: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, K] -> (uint8 [N, ceil(K/32), 32 or 16], float16 scales [N, ceil(K/32)]).

    int8: value q + 128, q in [-127, 127]. int4: value q + 8, q in [-8, 7], low nibble = even column.
    Columns beyond K hold the zero point. `search` tries several scales per int4 block and keeps the one with
    the smallest squared error; otherwise the scale is absmax / 7. Raises ModelFormatError naming the tensor
    if a value is not finite or a scale does not fit fp16.
    """
    count, columns = rows.shape
    blocks = -(-columns // BLOCK)
    if blocks * BLOCK != columns:
        rows = np.pad(rows, ((0, 0), (0, blocks * BLOCK - columns)))
    flat = rows.reshape(count * blocks, BLOCK)
    packed = np.empty((count * blocks, BLOCK * bits // 8), np.uint8)
    scales = np.empty(count * blocks, np.float16)
    for first in range(0, len(flat), _PIECE_BLOCKS):
        piece = slice(first, first + _PIECE_BLOCKS)
        values = np.ascontiguousarray(flat[piece].T)
        absmax = np.maximum(values.max(axis=0), -values.min(axis=0))
        if not np.isfinite(absmax).all():
            raise ModelFormatError(
                f"tensor {name!r} holds values that are not finite; the checkpoint is damaged"
            )
        step = absmax / 127.0 if bits == 8 else _int4_step(values, absmax, search)
        scales[piece] = _fp16_scale(step, bits, name)
        packed[piece] = _stored(_levels(values, scales[piece].astype(np.float32), bits), bits)
    return packed.reshape(count, blocks, -1), scales.reshape(count, blocks)


def quantize_compensated(rows: np.ndarray, factor: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """As `quantize_rows` to int4 with the scale search, but what rounding does to a product is made good by the columns
    that are still to be rounded (GPTQ: Frantar et al. 2022, algorithm 1).

    factor float32 [K', K'], K' = K rounded up to whole blocks: the upper triangular U with inverse(H) = U^T U, where H
    is the second moment of the inputs (`compensation.compensation_factor`). The identity changes nothing.
    """
    count, columns = rows.shape
    blocks = -(-columns // BLOCK)
    left = np.zeros((blocks * BLOCK, count), np.float32)
    left[:columns] = rows.T
    if not np.isfinite(left).all():
        raise ModelFormatError(f"tensor {name!r} holds values that are not finite; the checkpoint is damaged")
    packed = np.empty((count, blocks, BLOCK // 2), np.uint8)
    scales = np.empty((count, blocks), np.float16)
    for block in range(blocks):
        begin, end = block * BLOCK, (block + 1) * BLOCK
        values = left[begin:end]
        scales[:, block] = _fp16_scale(_int4_step(values, np.abs(values).max(axis=0), True), 4, name)
        levels, errors = _rounded_in_turn(values, scales[:, block], factor[begin:end, begin:end])
        packed[:, block] = _stored(levels, 4)
        left[end:] -= factor[begin:end, end:].T @ errors
    return packed, scales


def _rounded_in_turn(
    values: np.ndarray, scale: np.ndarray, factor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Levels [32, n] of a block, and the errors [32, n], in units of `factor`'s rows, that later columns make good.
    Changes `values`."""
    scale = scale.astype(np.float32)
    levels, errors = np.empty_like(values), np.empty_like(values)
    for column in range(BLOCK):
        levels[column] = _levels(values[column], scale, 4)
        errors[column] = (values[column] - levels[column] * scale) / factor[column, column]
        values[column + 1 :] -= factor[column, column + 1 :, None] * errors[column]
    return levels, errors


def dequantize_rows(packed: np.ndarray, scales: np.ndarray, columns: int) -> np.ndarray:
    """The inverse of `quantize_rows`: float32 [N, columns]."""
    if packed.shape[-1] == BLOCK:
        values = packed.astype(np.float32) - 128.0
    else:
        values = (
            np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], BLOCK).astype(np.float32)
            - 8.0
        )
    values *= scales.astype(np.float32)[..., None]
    return values.reshape(len(packed), -1)[:, :columns]


def _fp16_scale(step: np.ndarray, bits: int, name: str) -> np.ndarray:
    """Scales as stored: the nearest fp16, or the next larger one where that matters.

    Below 2^-14 they are multiples of 2^-24. Rounding down by half of that clips a block's largest value by more than
    half a step once the scale is below largest level * 2^-24, and makes it zero below 2^-25; rounded up, no weight is
    off by more than half a step.
    """
    coarse = np.float32((127 if bits == 8 else 7) * 2.0**-24)
    with np.errstate(over="ignore"):
        scale = step.astype(np.float16)
        clips = (step < coarse) & (scale.astype(np.float32) < step)
        scale = np.where(clips, np.nextafter(scale, np.float16(np.inf)), scale)
    if not np.isfinite(scale).all():
        raise ModelFormatError(
            f"tensor {name!r}: a block scale of {float(step.max()):.4g} does not fit fp16 (65504); export"
            " its group as"
            " fp32 with a recipe"
        )
    return scale


def _int4_step(values: np.ndarray, absmax: np.ndarray, search: bool) -> np.ndarray:
    """One scale per column of `values` [32, n] by least squared error over the divisors."""
    if not search:
        return absmax / np.float32(INT4_DIVISORS_PLAIN[0])
    safe = np.where(absmax > 0, absmax, np.float32(1))
    unit = values / safe
    best_error = np.full(len(absmax), np.inf, np.float32)
    best_divisor = np.full(len(absmax), INT4_DIVISORS[0], np.float32)
    scaled, rounded = np.empty_like(unit), np.empty_like(unit)
    for divisor in INT4_DIVISORS:
        np.multiply(unit, np.float32(divisor), out=scaled)
        np.rint(scaled, out=rounded)
        np.clip(rounded, -8, 7, out=rounded)
        np.subtract(rounded, scaled, out=scaled)
        error = np.einsum("kn,kn->n", scaled, scaled) / np.float32(divisor * divisor)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_divisor = np.where(better, np.float32(divisor), best_divisor)
    return absmax / best_divisor


def _levels(values: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    """The nearest levels of values [32, n] or [n] with scales float32 [n], as floats."""
    with np.errstate(divide="ignore"):
        inverse = np.where(scale > 0, np.float32(1) / scale, np.float32(0))
    rounded = np.rint(values * inverse)
    low, high = (-127, 127) if bits == 8 else (-8, 7)
    return np.clip(rounded, low, high, out=rounded)


def _stored(levels: np.ndarray, bits: int) -> np.ndarray:
    """Levels [32, n] -> bytes [n, 32 or 16]."""
    if bits == 8:
        return np.ascontiguousarray((levels + 128).astype(np.uint8).T)
    stored = (levels + 8).astype(np.uint8)
    return np.ascontiguousarray((stored[0::2] | (stored[1::2] << 4)).T)
