"""Makes the bundled speaker embedder out of Resemblyzer's weights. Needed only to repeat the conversion.

  pip download --no-deps resemblyzer==0.1.4
  python -m voxtral_edge.diarize.convert Resemblyzer-0.1.4-py3-none-any.whl -o ge2e.onnx

Needs torch (to read the checkpoint) and onnx. The graph: three LSTM layers of 256 over mel frames, linear, ReLU,
length one; exactly Resemblyzer's `VoiceEncoder.forward`. Weights are stored in half precision (2.9 MB in place of
5.7) and widened when the graph is loaded.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHECKPOINT = "resemblyzer/pretrained.pt"
LAYERS = 3
NAME = "ge2e-resemblyzer-0.1.4"
# Cosine of average vectors from which on two groups are one speaker; found as docs/diarization.md says.
SAME_SPEAKER = 0.85
ORIGIN = "Resemblyzer 0.1.4, pretrained.pt (Resemble.AI, 2019), converted"


def read_checkpoint(wheel: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of the checkpoint inside Resemblyzer's wheel."""
    import torch

    with zipfile.ZipFile(wheel) as archive:
        data = io.BytesIO(archive.read(CHECKPOINT))
    state = torch.load(data, map_location="cpu", weights_only=True)["model_state"]
    return {name: tensor.numpy().astype(np.float32) for name, tensor in state.items()}


def onnx_gates(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """torch keeps a layer's gates as input, forget, cell, output; ONNX as input, output, forget, cell."""
    i, f, c, o = np.split(rows, 4)
    return np.concatenate([i, o, f, c])


def build_model(state: dict[str, NDArray[np.float32]]) -> Any:
    """The ONNX model: `features` float32 [frames, 40] -> `embedding` float32 [256] of length one."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, values: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    def weight(name: str, values: NDArray[np.float32]) -> str:
        constant(name + ".half", values.astype(np.float16))
        nodes.append(helper.make_node("Cast", [name + ".half"], [name], to=TensorProto.FLOAT))
        return name

    nodes.append(
        helper.make_node("Unsqueeze", ["features", constant("batch_axis", np.array([1]))], ["layer0"])
    )
    hidden = state["lstm.weight_hh_l0"].shape[1]
    for layer in range(LAYERS):
        w, r, b_w, b_r = (
            onnx_gates(state[f"lstm.{kind}_l{layer}"])
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        names = [
            weight(f"lstm{layer}.input", w[None]),
            weight(f"lstm{layer}.recurrent", r[None]),
            weight(f"lstm{layer}.bias", np.concatenate([b_w, b_r])[None]),
        ]
        outputs = [f"sequence{layer}", f"last{layer}"]
        nodes.append(helper.make_node("LSTM", [f"layer{layer}", *names], outputs, hidden_size=hidden))
        # [frames, directions, batch, hidden] -> [frames, batch, hidden]
        axis = constant(f"direction_axis{layer}", np.array([1]))
        nodes.append(helper.make_node("Squeeze", [outputs[0], axis], [f"layer{layer + 1}"]))
    nodes.append(
        helper.make_node("Squeeze", [f"last{LAYERS - 1}", constant("first_axis", np.array([0]))], ["final"])
    )
    projection = [
        weight("linear.weight", state["linear.weight"]),
        weight("linear.bias", state["linear.bias"]),
    ]
    nodes.append(helper.make_node("Gemm", ["final", *projection], ["projected"], transB=1))
    nodes.append(helper.make_node("Relu", ["projected"], ["positive"]))
    nodes.append(helper.make_node("LpNormalization", ["positive"], ["unit"], axis=1, p=2))
    nodes.append(helper.make_node("Squeeze", ["unit", "first_axis"], ["embedding"]))

    bins, size = state["lstm.weight_ih_l0"].shape[1], state["linear.weight"].shape[0]
    graph = helper.make_graph(
        nodes,
        "ge2e",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["frames", bins])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [size])],
        constants,
        doc_string=f"{ORIGIN}; Apache License 2.0",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name = "voxtral_edge.diarize.convert"
    properties = {"name": NAME, "front_end": "power-mel-40", "same_speaker": str(SAME_SPEAKER)}
    helper.set_model_props(model, {**properties, "origin": ORIGIN, "licence": "Apache-2.0"})
    checker.check_model(model, full_check=True)
    return model


def main(argv: list[str] | None = None) -> int:
    """Converts; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the wheel of resemblyzer 0.1.4")
    parser.add_argument("-o", "--output", type=Path, default=Path("ge2e.onnx"))
    args = parser.parse_args(argv)
    data = build_model(read_checkpoint(args.wheel)).SerializeToString(deterministic=True)
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
