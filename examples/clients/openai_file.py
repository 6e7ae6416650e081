"""A file through OpenAI's client: its text as it is found, then word times."""

from __future__ import annotations

from pathlib import Path

from openai import OpenAI
from speech import arguments


def main() -> None:
    """Transcribes the file twice: streamed, and with word times."""
    args = arguments("OpenAI's POST /v1/audio/transcriptions", "http://127.0.0.1:8000")
    client = OpenAI(api_key=args.token or "none", base_url=f"{args.server}/v1")
    stream = client.audio.transcriptions.create(model=args.model, file=Path(args.audio), stream=True)
    for event in stream:
        if event.type == "transcript.text.delta":
            print(event.delta, end="", flush=True)
    print()
    words = client.audio.transcriptions.create(
        model=args.model,
        file=Path(args.audio),
        response_format="verbose_json",
        timestamp_granularities=["word"],
    ).words
    for word in words or []:
        print(f"{word.start:7.2f} {word.end:7.2f}  {word.word}")


if __name__ == "__main__":
    main()
