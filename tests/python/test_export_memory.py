"""Peak memory does not grow with the checkpoint: measured on a full-size table in a process of its own."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import source_export  # noqa: F401 - makes voxtral_edge.export importable
from voxtral_edge.export.names import file_name
from voxtral_edge.export.schema import tensor_specs
from voxtral_edge.export.synthetic import SYNTHETIC_MODELS, SyntheticCheckpoint

# The promise is 1.5 GB; what is measured is about 0.1 GB, and a whole table in float32 would be 1.6 GB alone.
PEAK_LIMIT_BYTES = 400 << 20

_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import source_export
from pathlib import Path
from voxtral_edge.export import Checkpoint, export_package
with Checkpoint(Path(sys.argv[2]), "mistral") as checkpoint:
    export_package(checkpoint, Path(sys.argv[3]), precision=sys.argv[4])
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def write_sparse_checkpoint(folder: Path) -> None:
    """The 4B model with one layer each and its full 131072 x 3072 table: zeros, a sparse 1.3 GB."""
    full = SYNTHETIC_MODELS["4b"]
    config = replace(full, encoder=replace(full.encoder, layers=1), decoder=replace(full.decoder, layers=1))
    header, end = {}, 0
    for spec in tensor_specs(config):
        size = 2 * spec.elements
        header[file_name(spec.name, "mistral")] = {
            "dtype": "BF16",
            "shape": list(spec.shape),
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header).encode()
    with (folder / "consolidated.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    encoder, decoder = config.encoder, config.decoder
    (folder / "params.json").write_text(
        json.dumps(
            {
                "dim": decoder.width,
                "n_layers": 1,
                "head_dim": decoder.head_dim,
                "hidden_dim": decoder.ffn_width,
                "n_heads": decoder.heads,
                "n_kv_heads": decoder.kv_heads,
                "rope_theta": 1e6,
                "norm_eps": 1e-5,
                "vocab_size": decoder.vocab_size,
                "tied_embeddings": True,
                "sliding_window": decoder.window_tokens,
                "ada_rms_norm_t_cond": True,
                "ada_rms_norm_t_cond_dim": 32,
                "multimodal": {
                    "whisper_model_args": {
                        "encoder_args": {
                            "audio_encoding_args": {
                                "sampling_rate": 16000,
                                "frame_rate": 12.5,
                                "num_mel_bins": 128,
                                "hop_length": 160,
                                "window_size": 400,
                                "global_log_mel_max": 1.5,
                            },
                            "dim": encoder.width,
                            "n_layers": 1,
                            "head_dim": encoder.head_dim,
                            "hidden_dim": encoder.ffn_width,
                            "n_heads": encoder.heads,
                            "n_kv_heads": encoder.kv_heads,
                            "use_biases": True,
                            "causal": True,
                            "rope_theta": 1e6,
                            "norm_eps": 1e-5,
                            "pos_embed": "rope",
                            "ffn_type": "swiglu",
                            "norm_type": "rms_norm",
                            "sliding_window": encoder.window_frames,
                        },
                        "downsample_args": {"downsample_factor": 4},
                    }
                },
            }
        )
    )
    (folder / "tekken.json").write_bytes(SyntheticCheckpoint("4b").tokenizer_bytes())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("precision", ["int4", "fp16"])
def test_peak_memory_with_the_full_size_table(tmp_path, precision):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    write_sparse_checkpoint(checkpoint)
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            _SCRIPT,
            str(Path(__file__).parent),
            str(checkpoint),
            str(tmp_path / "package"),
            precision,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) < PEAK_LIMIT_BYTES
