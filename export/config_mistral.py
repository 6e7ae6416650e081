"""params.json of the Mistral layout -> ModelConfig (spec 1.1)."""

from __future__ import annotations

from pathlib import Path

from voxtral_edge.errors import ModelFormatError

from .config_hf import audio_config
from .fields import Section
from .model_config import AdapterConfig, DecoderConfig, EncoderConfig, ModelConfig
from .tokenizer import Tokenizer

# Every key of the released model's params.json (spec 1.1): those of any stack, of the text model, of the encoder.
_STACK_KEYS = frozenset(
    {
        "dim",
        "n_layers",
        "head_dim",
        "hidden_dim",
        "n_heads",
        "n_kv_heads",
        "vocab_size",
        "use_biases",
        "causal",
        "rope_theta",
        "norm_eps",
        "sliding_window",
    }
)
_ROOT_KEYS = _STACK_KEYS | frozenset(
    {
        "model_parallel",
        "tied_embeddings",
        "model_max_length",
        "ada_rms_norm_t_cond",
        "ada_rms_norm_t_cond_dim",
        "multimodal",
    }
)
_ENCODER_KEYS = _STACK_KEYS | frozenset(
    {
        "audio_encoding_args",
        "use_cache",
        "pos_embed",
        "max_source_positions",
        "ffn_type",
        "norm_type",
    }
)


def read_mistral_config(folder: Path, tokenizer: Tokenizer) -> ModelConfig:
    root = Section.from_file(folder / "params.json")
    root.require_if_present("use_biases", False)
    root.require_if_present("causal", True)
    root.require("ada_rms_norm_t_cond", True)
    model = root.section("multimodal").section("whisper_model_args")
    encoder = _encoder(model.section("encoder_args"))
    decoder = DecoderConfig(
        layers=root.integer("n_layers"),
        width=root.integer("dim"),
        heads=root.integer("n_heads"),
        kv_heads=root.integer("n_kv_heads"),
        head_dim=root.integer("head_dim"),
        ffn_width=root.integer("hidden_dim"),
        window_tokens=root.integer("sliding_window"),
        rope_theta=root.number("rope_theta"),
        norm_eps=root.number("norm_eps"),
        vocab_size=root.integer("vocab_size"),
        delay_condition_width=root.integer("ada_rms_norm_t_cond_dim"),
    )
    coding = model.section("encoder_args").section("audio_encoding_args")
    _check_front_end(coding, tokenizer)
    per_token = model.section("downsample_args").integer("downsample_factor")
    config = ModelConfig(
        encoder=encoder,
        adapter=AdapterConfig(per_token, per_token * encoder.width, decoder.width, decoder.width),
        decoder=decoder,
        audio=audio_config(tokenizer, coding.number("global_log_mel_max")),
        tokens=tokenizer.tokens,
    )
    config.check(root.file)
    return config


def unknown_in_params(folder: Path) -> list[str]:
    """Keys of params.json that the exporter does not know, null ones left out.

    Siblings of this model scale their rotary embeddings or attention by such keys (`yarn`, `llama_4_scaling`):
    tensors of the right names and shapes would then be run in the wrong way, so somebody should hear of it.
    """
    root = Section.from_file(folder / "params.json")
    encoder = root.section("multimodal").section("whisper_model_args").section("encoder_args")
    return [
        f"{section.path}{key}"
        for section, known in ((root, _ROOT_KEYS), (encoder, _ENCODER_KEYS))
        for key in section.values
        if key not in known and section.has(key)
    ]


def tied_in_params(folder: Path) -> bool:
    """Whether params.json says that the output head is the embedding table.

    A file that leaves the key out decides nothing: without a stored head the table is the only one there is,
    and a stored head is compared anyway.
    """
    root = Section.from_file(folder / "params.json")
    root.require_if_present("tied_embeddings", True, False, None)
    return root.values.get("tied_embeddings") is not False


def _encoder(args: Section) -> EncoderConfig:
    for key, value in (
        ("use_biases", True),
        ("causal", True),
        ("pos_embed", "rope"),
        ("ffn_type", "swiglu"),
        ("norm_type", "rms_norm"),
    ):
        args.require(key, value)
    return EncoderConfig(
        layers=args.integer("n_layers"),
        width=args.integer("dim"),
        heads=args.integer("n_heads"),
        kv_heads=args.integer("n_kv_heads"),
        head_dim=args.integer("head_dim"),
        ffn_width=args.integer("hidden_dim"),
        window_frames=args.integer("sliding_window"),
        rope_theta=args.number("rope_theta"),
        norm_eps=args.number("norm_eps"),
        mel_bins=args.section("audio_encoding_args").integer("num_mel_bins"),
    )


def _check_front_end(coding: Section, tokenizer: Tokenizer) -> None:
    """params.json and tekken.json both state the front end; they must agree."""
    coding.require_if_present("chunk_length_s", None)
    for key, value in (
        ("sampling_rate", tokenizer.sample_rate_hz),
        ("hop_length", tokenizer.hop_samples),
        ("window_size", tokenizer.window_samples),
        ("num_mel_bins", tokenizer.mel_bins),
    ):
        if coding.integer(key) != value:
            raise ModelFormatError(
                f"{coding.where(key)} is {coding.values[key]}, but tekken.json says {value}"
            )
    if coding.number("frame_rate") * tokenizer.samples_per_token != tokenizer.sample_rate_hz:
        raise ModelFormatError(
            f"{coding.where('frame_rate')} is {coding.values['frame_rate']}, but tekken.json says"
            f" {tokenizer.sample_rate_hz / tokenizer.samples_per_token}"
        )
