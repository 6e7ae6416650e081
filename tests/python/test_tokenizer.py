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
from voxtral_edge.tokenizer import Tokenizer

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


def written(folder: Path, root: dict[str, object]) -> Tokenizer:
    path = folder / "tekken.json"
    path.write_text(json.dumps(root), encoding="utf-8")
    return Tokenizer.from_file(path)


@pytest.mark.parametrize("path", [DEMO, *REAL], ids=lambda path: path.parent.name + "/" + path.name)
def test_ids_equal_the_reference(path: Path, tmp_path: Path) -> None:
    root = json.loads(path.read_text(encoding="utf-8"))
    ours = written(tmp_path, {"special_tokens": [], **root})  # older files do not list them
    reference = Tekkenizer.from_file(path)
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
    assert len(written(tmp_path, root).encode("seven")) == len("seven")


def test_text_that_is_not_unicode_and_endless_words_are_refused() -> None:
    with pytest.raises(UsageError, match="lone surrogate"):
        demo().encode("caf\udce9")
    with pytest.raises(UsageError, match="without a break"):
        demo().encode("x" * 4097)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: root.pop("config"), 'missing "config"'),
        (lambda root: root["config"].pop("pattern"), "pattern is missing"),
        (lambda root: root["config"].update(pattern="(unclosed"), r"a \( without its \) at character 9"),
        (lambda root: root["config"].update(pattern="(?i:a)"), "an unknown kind of group"),
        (lambda root: root["config"].update(pattern=r"\p{Greek}+"), r"an unknown \\p\{Greek\}"),
        (lambda root: root["config"].update(pattern="(?:a|aa)+$"), r"an unexpected \$"),
        (lambda root: root["vocab"].__setitem__(7, {"rank": 7, "token_bytes": "!!"}), "base64"),
        (lambda root: root["vocab"].__setitem__(7, {**root["vocab"][8], "rank": 7}), "are the same piece"),
        (lambda root: root["vocab"].__setitem__(7, {"rank": 7, "token_bytes": "AAE="}), "for the byte 7"),
        (lambda root: root.update(vocab=root["vocab"][:300]), "does not match"),
        (lambda root: root["config"].update(default_vocab_size="many"), "default_vocab_size"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: object, message: str) -> None:
    root = json.loads(DEMO.read_text(encoding="utf-8"))
    change(root)  # type: ignore[operator]
    with pytest.raises(ModelFormatError, match=message):
        written(tmp_path, root).encode("seven")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"tekken\.json"):
        Tokenizer.from_file(tmp_path / "tekken.json")


@pytest.mark.parametrize("pattern", ["(?:a|aa)+c", "(?:a*)*c", "(?:(?:a?){9}){9}c"])
def test_a_pattern_that_backtracks_without_end_is_stopped(tmp_path: Path, pattern: str) -> None:
    root = json.loads(DEMO.read_text(encoding="utf-8"))
    root["config"]["pattern"] = pattern
    with pytest.raises(ModelFormatError, match="takes too long"):
        written(tmp_path, root).encode("a" * 60 + "b")


# What `regex`, or any engine of Perl's kind, finds with these; \\w and the like are refused, not guessed.
PATTERNS = [
    r"\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+|[^\s\p{L}\p{N}]+",
    r"a(?=b)|ab|[a-c\-]{2,}|(x|xy)(z|)|.",
    r"[^\r\n\p{L}]?[\p{Lu}\p{M}]*[\P{Lu}\d]+?".replace("+?", "+"),
    r" ?[\S]+|\D|(?:(?:ab)*c){0,2}",
    r"[]a]+|[\t\n]|\.|é*",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pieces_are_those_of_the_regex_package(tmp_path: Path, pattern: str) -> None:
    """With a vocabulary of bytes alone, ids are the bytes of what the pattern matches."""
    regex = pytest.importorskip("regex")
    root = json.loads(DEMO.read_text(encoding="utf-8"))
    root["config"]["pattern"] = pattern
    tokenizer = written(tmp_path, root)
    extra = ["abc", "ab-cab", "xyz xz xy", "cabcabc", "]a]", "a.b\t\n", "éé.é", "1234 56", "A\u0301b  C "]
    for text in WRITTEN + extra + random_texts(200):
        matched = "".join(found.group() for found in regex.finditer(pattern, text))
        assert b"".join(map(tokenizer.piece, tokenizer.encode(text))).decode() == matched, ascii(text)
