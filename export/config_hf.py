"""config.json (+ processor files) of the Hugging Face layout -> ModelConfig (spec 1.1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from voxtral_edge.errors import ModelFormatError

from .fields import Section
from .model_config import (
    RIGHT_PAD_EXTRA_TOKENS,
    AdapterConfig,
    AudioConfig,
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
)
from .tokenizer import Tokenizer

ShapeOf = Callable[[str], tuple[int, ...]]


def read_hf_config(folder: Path, tokenizer: Tokenizer, shape_of: ShapeOf) -> ModelConfig:
    """`shape_of(canonical name)` gives a stored shape: two dimensions are only there."""
    root = Section.from_file(folder / "config.json")
    root.require("model_type", "voxtral_realtime")
    root.require_if_present("projector_hidden_act", "gelu")
    audio, text = root.section("audio_config"), root.section("text_config")
    audio.require_if_present("hidden_act", "silu")
    audio.require_if_present("activation_function", "gelu")
    text.require_if_present("hidden_act", "silu")
    decoder = _decoder(text, shape_of)
    encoder = _encoder(audio, shape_of)
    per_token = root.integer("downsample_factor")
    _same(root, "audio_length_per_tok", tokenizer.mel_frames_per_token, "the frame rate in tekken.json")
    _same(root, "hidden_size", decoder.width, "text_config.hidden_size")
    _same(text, "bos_token_id", tokenizer.tokens.bos, "<s> in tekken.json")
    if text.values.get("eos_token_id") != [tokenizer.tokens.eos]:  # transformers allows a list of them
        _same(text, "eos_token_id", tokenizer.tokens.eos, "</s> in tekken.json")
    config = ModelConfig(
        encoder=encoder,
        adapter=AdapterConfig(per_token, per_token * encoder.width, decoder.width, decoder.width),
        decoder=decoder,
        audio=_audio(folder, tokenizer),
        tokens=tokenizer.tokens,
    )
    config.check(root.file)
    return config


def tied_in_config(folder: Path) -> bool:
    """Whether the configuration says that the output head is the embedding table.

    Files that leave the key out mean the class's default, tied. One of two keys is enough: composite models
    often carry the text model's `true` beside a `false` of the outer class. A stored head is compared anyway.
    """
    root = Section.from_file(folder / "config.json")
    sections = [
        section for section in (root, root.section("text_config")) if section.has("tie_word_embeddings")
    ]
    return not sections or any(section.values["tie_word_embeddings"] is True for section in sections)


def delay_in_config(folder: Path) -> int | None:
    """The default delay in tokens that config.json states beside tekken.json's, if it does."""
    root = Section.from_file(folder / "config.json")
    key = "default_num_delay_tokens"
    return root.integer(key) if root.has(key) else None


def _rope_theta(section: Section) -> float:
    """The rotary base: a configuration without it would silently mean 10000 in transformers (spec 1.1)."""
    if section.has("rope_parameters"):
        rope = section.section("rope_parameters")
        rope.require_if_present("rope_type", "default")
        rope.require_if_present("partial_rotary_factor", 1, None)
        return rope.number("rope_theta")
    if section.has("rope_theta"):
        if section.has("rope_scaling"):
            raise ModelFormatError(
                f"{section.where('rope_scaling')} is set; scaled rotary embeddings are not supported"
            )
        return section.number("rope_theta")
    return section.section("rope_parameters").number("rope_theta")


def _encoder(audio: Section, shape_of: ShapeOf) -> EncoderConfig:
    head_dim = audio.integer("head_dim")
    # Older and newer files leave num_key_value_heads out of audio_config; the key projection always has it.
    key_rows = shape_of("encoder.layers.0.attention.k.weight")[0]
    if key_rows % head_dim or key_rows == 0:
        raise ModelFormatError(
            f"{audio.where('head_dim')} is {head_dim}, but the encoder's key projection has {key_rows} rows"
        )
    _same(audio, "num_key_value_heads", key_rows // head_dim, "the rows of the encoder's key projection")
    return EncoderConfig(
        layers=audio.integer("num_hidden_layers"),
        width=audio.integer("hidden_size"),
        heads=audio.integer("num_attention_heads"),
        kv_heads=key_rows // head_dim,
        head_dim=head_dim,
        ffn_width=audio.integer("intermediate_size"),
        window_frames=audio.integer("sliding_window"),
        rope_theta=_rope_theta(audio),
        norm_eps=audio.number("rms_norm_eps"),
        mel_bins=audio.integer("num_mel_bins"),
    )


def _decoder(text: Section, shape_of: ShapeOf) -> DecoderConfig:
    return DecoderConfig(
        layers=text.integer("num_hidden_layers"),
        width=text.integer("hidden_size"),
        heads=text.integer("num_attention_heads"),
        kv_heads=text.integer("num_key_value_heads"),
        head_dim=text.integer("head_dim"),
        ffn_width=text.integer("intermediate_size"),
        window_tokens=text.integer("sliding_window"),
        rope_theta=_rope_theta(text),
        norm_eps=text.number("rms_norm_eps"),
        vocab_size=text.integer("vocab_size"),
        # transformers hard-codes this width (32); only the tensor states it.
        delay_condition_width=shape_of("decoder.layers.0.delay.linear1.weight")[0],
    )


def _audio(folder: Path, tokenizer: Tokenizer) -> AudioConfig:
    extractors = _feature_extractors(folder)
    for key, value in (
        ("sampling_rate", tokenizer.sample_rate_hz),
        ("hop_length", tokenizer.hop_samples),
        ("n_fft", tokenizer.window_samples),
        ("win_length", tokenizer.window_samples),
        ("feature_size", tokenizer.mel_bins),
    ):
        for extractor in extractors:
            _same(extractor, key, value, "tekken.json")
    return audio_config(tokenizer, _log_mel_max(folder, extractors))


def audio_config(tokenizer: Tokenizer, log_mel_max: float) -> AudioConfig:
    return AudioConfig(
        sample_rate_hz=tokenizer.sample_rate_hz,
        hop_samples=tokenizer.hop_samples,
        window_samples=tokenizer.window_samples,
        samples_per_token=tokenizer.samples_per_token,
        mel_frames_per_token=tokenizer.mel_frames_per_token,
        log_mel_max=log_mel_max,
        left_pad_tokens=tokenizer.left_pad_tokens,
        right_pad_extra_tokens=RIGHT_PAD_EXTRA_TOKENS,
        default_delay_tokens=tokenizer.default_delay_tokens,
    )


def _feature_extractors(folder: Path) -> list[Section]:
    """The front end's settings in every file that may hold them: which one does depends on the version of
    transformers that wrote it, and a processor_config.json may name a class and nothing else."""
    sections = []
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            section = Section.from_file(folder / name)
            sections.append(
                section.section("feature_extractor") if section.has("feature_extractor") else section
            )
    return sections


def _log_mel_max(folder: Path, extractors: list[Section]) -> float:
    """The fixed maximum of the log-mel (spec 3.1), from params.json if no processor file states it."""
    for extractor in extractors:
        if extractor.has("global_log_mel_max"):
            return extractor.number("global_log_mel_max")
    if (folder / "params.json").is_file():
        model = Section.from_file(folder / "params.json").section("multimodal").section("whisper_model_args")
        coding = model.section("encoder_args").section("audio_encoding_args")
        return coding.number("global_log_mel_max")
    raise ModelFormatError(
        f"{folder}: global_log_mel_max is stated neither in processor_config.json nor in"
        " preprocessor_config.json (nor is there a params.json beside them); one of these files is missing"
    )


def _same(section: Section, key: str, value: int, other: str) -> None:
    """A second statement of a known value must agree with the first; files of two models are easily mixed."""
    if section.has(key) and section.values[key] != value:
        raise ModelFormatError(f"{section.where(key)} is {section.values[key]}, but {other} says {value}")
