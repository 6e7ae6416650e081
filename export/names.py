"""Tensor names: canonical <-> Hugging Face file <-> Mistral file (spec 2.1, 2.2), and generations."""

from __future__ import annotations

import re

_MM = "mm_streams_embeddings.embedding_module"
_WHISPER = f"{_MM}.whisper_encoder"
_HF_ENCODER, _HF_DECODER = "audio_tower.layers.{i}", "language_model.model.layers.{i}"
_MISTRAL_ENCODER = f"{_WHISPER}.transformer.layers.{{i}}"

# (canonical, Hugging Face, Mistral); {i} is a layer index.
_TABLE: list[tuple[str, str, str]] = (
    [
        (
            f"encoder.conv{n + 1}.{part}",
            f"audio_tower.embedder.conv{n + 1}.{part}",
            f"{_WHISPER}.conv_layers.{n}.conv.{part}",
        )
        for n in (0, 1)
        for part in ("weight", "bias")
    ]
    + [
        (f"encoder.layers.{{i}}.{ours}", f"{_HF_ENCODER}.{hf}", f"{_MISTRAL_ENCODER}.{mistral}")
        for ours, hf, mistral in (
            ("attention_norm.weight", "self_attn_layer_norm.weight", "attention_norm.weight"),
            ("attention.q.weight", "self_attn.q_proj.weight", "attention.wq.weight"),
            ("attention.q.bias", "self_attn.q_proj.bias", "attention.wq.bias"),
            ("attention.k.weight", "self_attn.k_proj.weight", "attention.wk.weight"),
            ("attention.v.weight", "self_attn.v_proj.weight", "attention.wv.weight"),
            ("attention.v.bias", "self_attn.v_proj.bias", "attention.wv.bias"),
            ("attention.o.weight", "self_attn.o_proj.weight", "attention.wo.weight"),
            ("attention.o.bias", "self_attn.o_proj.bias", "attention.wo.bias"),
            # final_layer_norm is the norm before the FFN, despite its name (spec 2.1).
            ("ffn_norm.weight", "final_layer_norm.weight", "ffn_norm.weight"),
            ("ffn.gate.weight", "mlp.gate_proj.weight", "feed_forward.w1.weight"),
            ("ffn.up.weight", "mlp.up_proj.weight", "feed_forward.w3.weight"),
            ("ffn.down.weight", "mlp.down_proj.weight", "feed_forward.w2.weight"),
            ("ffn.down.bias", "mlp.down_proj.bias", "feed_forward.w2.bias"),
        )
    ]
    + [
        ("encoder.norm.weight", "audio_tower.norm.weight", f"{_WHISPER}.transformer.norm.weight"),
        (
            "adapter.linear1.weight",
            "multi_modal_projector.linear_1.weight",
            f"{_MM}.audio_language_projection.0.weight",
        ),
        (
            "adapter.linear2.weight",
            "multi_modal_projector.linear_2.weight",
            f"{_MM}.audio_language_projection.2.weight",
        ),
        (
            "decoder.embedding.weight",
            "language_model.model.embed_tokens.weight",
            f"{_MM}.tok_embeddings.weight",
        ),
    ]
    + [
        (f"decoder.layers.{{i}}.{ours}", f"{_HF_DECODER}.{hf}", f"layers.{{i}}.{mistral}")
        for ours, hf, mistral in (
            ("attention_norm.weight", "input_layernorm.weight", "attention_norm.weight"),
            ("attention.q.weight", "self_attn.q_proj.weight", "attention.wq.weight"),
            ("attention.k.weight", "self_attn.k_proj.weight", "attention.wk.weight"),
            ("attention.v.weight", "self_attn.v_proj.weight", "attention.wv.weight"),
            ("attention.o.weight", "self_attn.o_proj.weight", "attention.wo.weight"),
            ("ffn_norm.weight", "post_attention_layernorm.weight", "ffn_norm.weight"),
            ("ffn.gate.weight", "mlp.gate_proj.weight", "feed_forward.w1.weight"),
            ("ffn.up.weight", "mlp.up_proj.weight", "feed_forward.w3.weight"),
            ("ffn.down.weight", "mlp.down_proj.weight", "feed_forward.w2.weight"),
            ("delay.linear1.weight", "ada_rms_norm.linear1.weight", "ada_rms_norm_t_cond.0.weight"),
            ("delay.linear2.weight", "ada_rms_norm.linear2.weight", "ada_rms_norm_t_cond.2.weight"),
        )
    ]
    + [("decoder.norm.weight", "language_model.model.norm.weight", "norm.weight")]
)

_HF = {canonical: hf for canonical, hf, _ in _TABLE}
_MISTRAL = {canonical: mistral for canonical, _, mistral in _TABLE}
_LAYER = re.compile(r"^((?:encoder|decoder)\.layers\.)(\d+)(\..+)$")

# Names that may hold a second copy of the tied embedding table.
HEAD_DUPLICATES = {
    "hf": ("lm_head.weight", "language_model.lm_head.weight"),
    "mistral": ("output.weight", "tok_embeddings.weight"),
}


def file_name(canonical: str, layout: str) -> str:
    """The name of a canonical tensor in a checkpoint file of layout "hf" or "mistral"."""
    table = _HF if layout == "hf" else _MISTRAL
    match = _LAYER.match(canonical)
    if match is None:
        return table[canonical]
    return table[f"{match[1]}{{i}}{match[3]}"].replace("{i}", match[2])


def normalise(name: str, layout: str) -> str:
    """A name as stored -> the name of the generation that `file_name` writes (spec 2.2, last paragraph).

    Recent transformers prefixes everything with "model." and drops the inner "model." of the language model:
    model.language_model.layers.0... == language_model.model.layers.0...
    """
    if layout != "hf":
        return name
    name = name.removeprefix("model.")
    inner = "language_model."
    if name.startswith(inner) and not name.startswith((f"{inner}model.", f"{inner}lm_head.")):
        name = f"{inner}model.{name.removeprefix(inner)}"
    return name


def is_derived(name: str) -> bool:
    """Whether a stored tensor is a buffer that the configuration determines: rotary frequencies, which some
    versions of transformers save and others compute."""
    return name.endswith(".inv_freq")
