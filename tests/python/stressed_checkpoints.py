"""Random checkpoints whose weights are as awkward as those of large trained models.

stressed(folder, "outliers")    the checkpoint in `folder`, changed in both layouts; returns `folder`
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from checkpoint_shapes import SHAPES, Shape
from safetensors.torch import load_file, save_file

from checkpoints import write_mistral_layout

Change = Callable[[str, torch.Tensor, Shape, torch.Generator], torch.Tensor]


def _outlier_dimensions(name: str, shape: Shape) -> list[int]:
    """Two of the residual stream, of the stack that the tensor writes to or reads from."""
    encoder = name.startswith("audio_tower")
    width = int((shape.audio if encoder else shape.text)["hidden_size"])
    return [3, width // 2 + 1]


def _heavy_tails(name: str, tensor: torch.Tensor, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """Matrices of Student's t with 3 degrees of freedom, of the same rms: single weights 20 times as large."""
    if tensor.ndim != 2 or "ada_rms_norm" in name:
        return tensor
    chi = torch.randn((3, *tensor.shape), generator=generator).square().mean(0)
    heavy = torch.randn(tensor.shape, generator=generator) / chi.sqrt()
    return heavy * (tensor.square().mean() / heavy.square().mean()).sqrt()


def _outliers(name: str, tensor: torch.Tensor, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """Massive activations: everything written to two residual dimensions is 100 times as large, and the norms that
    read them turn them down."""
    dimensions = _outlier_dimensions(name, shape)
    if name.endswith(
        ("o_proj.weight", "o_proj.bias", "down_proj.weight", "down_proj.bias", "linear_2.weight")
    ):
        tensor[dimensions] *= 100
    elif name.endswith("embed_tokens.weight"):
        tensor[:, dimensions] *= 100
    elif "norm.weight" in name:
        tensor[dimensions] *= 0.03
    return tensor


def _biases(name: str, tensor: torch.Tensor, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """Biases of projections 30 times as large: attention that hardly follows the audio, large values everywhere."""
    return tensor * 30 if name.endswith("proj.bias") else tensor


def _gains(name: str, tensor: torch.Tensor, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """Norm gains over two orders of magnitude between neighbours, taken back by the matrices behind them."""
    gains = (
        10 ** torch.linspace(-1, 1, tensor.shape[-1])[torch.randperm(tensor.shape[-1], generator=_fixed())]
    )
    if name.endswith(("input_layernorm.weight", "self_attn_layer_norm.weight")):
        return tensor * gains
    if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
        return tensor / gains
    return tensor


def _large_keys(name: str, tensor: torch.Tensor, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """Keys and values beyond half precision (65504), queries and outputs as much smaller: the same function."""
    if name.endswith(("k_proj.weight", "v_proj.weight", "v_proj.bias")):
        return tensor * 2.0**17
    if name.endswith(("q_proj.weight", "q_proj.bias", "o_proj.weight")):
        return tensor * 2.0**-17
    return tensor


def _tiny(name: str, tensor: torch.Tensor, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """Up projections whose int8 scales are among the last subnormal halves, down projections as much larger."""
    if name.endswith("up_proj.weight"):
        return tensor * 2.0**-17
    return tensor * 2.0**17 if name.endswith("down_proj.weight") else tensor


def _fixed() -> torch.Generator:
    """The same permutation for a norm and the matrices behind it."""
    return torch.Generator().manual_seed(3)


STRESSES: dict[str, Change] = {
    "biases": _biases,
    "gains": _gains,
    "heavy tails": _heavy_tails,
    "large keys": _large_keys,
    "outliers": _outliers,
    "tiny": _tiny,
}


def stressed(folder: Path, stress: str, shape: str) -> Path:
    """Applies a stress to the float32 checkpoint in `folder`, and rewrites its Mistral layout."""
    generator = torch.Generator().manual_seed(5)
    tensors = load_file(folder / "model.safetensors")
    changed = {
        name: STRESSES[stress](name, tensor.clone(), SHAPES[shape], generator).contiguous()
        for name, tensor in sorted(tensors.items())
    }
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    write_mistral_layout(folder, SHAPES[shape])
    return folder
