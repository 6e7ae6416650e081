"""Write encoder.onnx and decoder.onnx of a package from its manifest alone.

The graphs use standard ONNX (opset 24) and com.microsoft's MatMulNBits; every weight stays in weights.bin and
is pointed at with the offset and length of the manifest's tensor table. Nothing of the weights is read here,
so this costs the same for a 1 MB and a 9 GB package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .onnx_decoder import decoder_graph
from .onnx_encoder import encoder_graph

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"


def build_graphs(manifest: dict[str, Any], directory: Path) -> None:
    """Write both graphs into `directory`, beside the weight file the manifest's tensor table describes.

    Only `manifest["config"]` and `manifest["tensors"]` are used; equal ones give equal bytes.
    Raises ModelFormatError when a tensor is missing, has another shape than the configuration asks for, or is
    assigned to a graph that does not need it.
    """
    for name, model in ((ENCODER_FILE, encoder_graph(manifest)), (DECODER_FILE, decoder_graph(manifest))):
        (directory / name).write_bytes(model.SerializeToString(deterministic=True))
