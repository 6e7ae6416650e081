"""Text to token ids: equal to mistral_common on many scripts, with the demo vocabulary and with real ones."""

from __future__ import annotations

import json
import random
from functools import lru_cache
from pathlib import Path

import mistral_common
import pytest
from front_door import CHECKPOINT
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from voxtral_edge.errors import ModelFormatError, UsageError
from voxtral_edge.tokenizer import MAX_PIECE_BYTES, Tokenizer

DEMO = CHECKPOINT / "tekken.json"
REAL = sorted((Path(mistral_common.__file__).parent / "data").glob("tekken_*.json"))[-1:]
WRITTEN = (
    """
Hello, world!|it's don’t O'Neill's|HTTPServer camelCase XMLHttpRequest|12345.67 €, 3/4 ½ ²
Zürich Straße Ångström|Привет, как дела?|γειά σου Κόσμε|שָׁלוֹם עולם|مرحبا بالعالم|नमस्ते दुनिया|สวัสดีชาวโลก
東京タワーへ行きます。|中文字符测试|안녕하세요 세계|🧑‍🚀🏳️‍🌈 👍🏽 emoji|Iñtërnâtiônàlizætiøn|a
Kubernetes, Voxtral & PostgreSQL|…—“quotes”
""".strip()
    .replace("\n", "|")
    .split("|")
)
WRITTEN += ["", " ", "  two  spaces \n\n tabs\t\r\n", "e\u0301 cafe\u0301 (combining)", "\u200b\ufeff"]
# Letters of these scripts have been assigned for decades: Unicode versions do not matter.
SCRIPTS = [
    (0x20, 0x7E), (0xC0, 0x17F),
    (0x391, 0x3A1), (0x410, 0x44F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939),
    (0xE01, 0xE2E), (0x3041, 0x3096), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0x1F600, 0x1F64F), (0x300, 0x340),
]  # fmt: skip


def random_texts(count: int) -> list[str]:
    choices = random.Random(20)
    texts = []
    for _ in range(count):
        script, text = choices.choice(SCRIPTS), ""
        for _ in range(choices.randint(1, 30)):
            kind = choices.random()
            if kind < 0.05:
                script = choices.choice(SCRIPTS)
            text += " " if kind < 0.2 else choices.choice("'-.,!?\n’1234567890") if kind < 0.27 else ""
            text += chr(choices.randint(*script))
        texts.append(text)
    return texts


@lru_cache(maxsize=1)
def demo() -> Tokenizer:
    return Tokenizer.from_file(DEMO)


@pytest.mark.parametrize("path", [DEMO, *REAL], ids=lambda path: path.parent.name + "/" + path.name)
def test_ids_equal_the_reference(path: Path) -> None:
    ours, reference = Tokenizer.from_file(path), Tekkenizer.from_file(path)
    assert ours.vocab_size == reference.n_words
    for text in WRITTEN + random_texts(2000):
        assert ours.encode(text) == reference.encode(text, bos=False, eos=False), ascii(text)


def test_ids_are_text_and_spell_the_text() -> None:
    for text in WRITTEN:
        ids = demo().encode(text)
        assert all(demo().special_count <= token < demo().vocab_size for token in ids)
        assert b"".join(demo().piece(token) for token in ids).decode("utf-8") == text


def test_entries_beyond_the_models_outputs_are_not_used(tmp_path: Path) -> None:
    root = json.loads(DEMO.read_text(encoding="utf-8"))
    root["config"]["default_vocab_size"] = root["config"]["default_num_special_tokens"] + 256
    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(root), encoding="utf-8")
    assert len(Tokenizer.from_file(path).encode("seven")) == len("seven")


def test_text_that_is_not_unicode_and_endless_words_are_refused() -> None:
    with pytest.raises(UsageError, match="lone surrogate"):
        demo().encode("caf\udce9")
    with pytest.raises(UsageError, match="without a break"):
        demo().encode("x" * (MAX_PIECE_BYTES + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: root.pop("config"), "cannot be read"),
        (lambda root: root["config"].update(pattern="(unclosed"), "does not compile"),
        (lambda root: root["vocab"].__setitem__(7, {"rank": 7, "token_bytes": "!!"}), "cannot be read"),
        (lambda root: root["vocab"].__setitem__(7, root["vocab"][8]), "lacks pieces"),
        (lambda root: root.update(vocab=root["vocab"][:300]), "lacks pieces"),
        (lambda root: root["config"].update(default_vocab_size="many"), "cannot be read"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: object, message: str) -> None:
    root = json.loads(DEMO.read_text(encoding="utf-8"))
    change(root)  # type: ignore[operator]
    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(root), encoding="utf-8")
    with pytest.raises(ModelFormatError, match=message):
        Tokenizer.from_file(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="cannot be read"):
        Tokenizer.from_file(tmp_path / "tekken.json")


def test_a_pattern_that_backtracks_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtral_edge.tokenizer._SPLIT_TIMEOUT_S", 0.05)
    hostile = Tokenizer("(?:a|aa)+$", {bytes([value]): value for value in range(256)}, 64)
    with pytest.raises(ModelFormatError, match="takes longer"):
        hostile.encode("a" * 60 + "b")
