"""Builds the recordings of this folder from Debian's package asterisk-core-sounds-en-wav.

  apt-get download asterisk-core-sounds-en-wav && dpkg -x asterisk-core-sounds-en-wav_*.deb asterisk
  python samples/make_samples.py asterisk/usr/share/asterisk/sounds/en_US_f_Allison/digits

Each sample joins single recorded digits ("prompts") in the order, and with the silences, that samples.json
lists: one human voice, but not one breath; see README.md. Its "layout" says where the words lie, so that
word times can be checked: "digits_s" is the length of each prompt with "keep_before_s" and "keep_after_s" of
its surroundings, "lead_s" and "tail_s" is the silence around all of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

HERE = Path(__file__).parent
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PROMPT_RATE_HZ = 8000
# The prompts carry up to 0.17 s of room noise before and after the word; 0.006 of full scale is just above
# it.
SILENCE_LEVEL = 0.006


def read_prompts(folder: Path, layout: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The ten digits, float32 at 8 kHz, trimmed to the spoken part."""
    prompts = {}
    for number, word in enumerate(DIGITS):
        pcm, rate_hz = soundfile.read(folder / f"{number}.wav", dtype="float32")
        if rate_hz != PROMPT_RATE_HZ or pcm.ndim != 1:
            raise SystemExit(f"{folder / f'{number}.wav'}: expected mono at {PROMPT_RATE_HZ} Hz")
        loud = np.flatnonzero(np.abs(pcm) > SILENCE_LEVEL)
        begin = max(0, loud[0] - int(layout["keep_before_s"] * rate_hz))
        prompts[word] = pcm[begin : loud[-1] + int(layout["keep_after_s"] * rate_hz)]
        if len(prompts[word]) != round(layout["digits_s"][word] * rate_hz):
            raise SystemExit(f"{folder / f'{number}.wav'}: not the recording that samples.json was made for")
    return prompts


def join(
    prompts: dict[str, NDArray[np.float32]], words: list[str], gaps_s: list[float], layout: dict[str, Any]
) -> NDArray[np.float32]:
    """The words one after the other, each followed by its gap (seconds), float32 at 8 kHz."""
    parts = [np.zeros(int(layout["lead_s"] * PROMPT_RATE_HZ), np.float32)]
    for word, gap_s in zip(words, gaps_s, strict=True):
        parts += [prompts[word], np.zeros(int(gap_s * PROMPT_RATE_HZ), np.float32)]
    parts.append(np.zeros(int(layout["tail_s"] * PROMPT_RATE_HZ), np.float32))
    return np.concatenate(parts)


def write(sample: dict[str, Any], prompts: dict[str, NDArray[np.float32]], layout: dict[str, Any]) -> None:
    """Writes one sample at the rate and channel count its entry asks for."""
    pcm = join(prompts, sample["text"].split(), sample["gaps_s"], layout)
    if sample["sample_rate_hz"] != PROMPT_RATE_HZ:
        pcm = soxr.resample(pcm, PROMPT_RATE_HZ, sample["sample_rate_hz"], quality="VHQ")
    channels = np.repeat(pcm[:, None], sample["channels"], axis=1)
    soundfile.write(HERE / sample["file"], channels, sample["sample_rate_hz"])
    print(f"{sample['file']:24} {len(pcm) / sample['sample_rate_hz']:6.2f} s  {sample['text']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("digits", type=Path, help="folder of the package's digit prompts (0.wav to 9.wav)")
    args = parser.parse_args()
    listing = json.loads((HERE / "samples.json").read_text(encoding="utf-8"))
    prompts = read_prompts(args.digits, listing["layout"])
    for sample in listing["samples"]:
        write(sample, prompts, listing["layout"])


if __name__ == "__main__":
    main()
