"""A recording through Mistral's realtime client."""

from __future__ import annotations

import asyncio

from mistralai.client import Mistral
from speech import arguments, pieces


async def main() -> None:
    """Prints the deltas, then the segments with their times."""
    args = arguments("Mistral's realtime transcription", "http://127.0.0.1:8000")
    client = Mistral(api_key=args.token or "none", server_url=args.server)
    stream = client.audio.realtime.transcribe_stream(
        audio_stream=pieces(args.audio, 16_000, args.fast), model=args.model, target_streaming_delay_ms=480
    )
    async for event in stream:
        if event.type == "transcription.text.delta":
            print(event.text, end="", flush=True)
        elif event.type == "transcription.done":
            print()
            for segment in event.segments or []:
                print(f"{segment.start:7.2f} {segment.end:7.2f}  {segment.text}")
        elif event.type == "error":
            raise SystemExit(event.error.message)


if __name__ == "__main__":
    asyncio.run(main())
