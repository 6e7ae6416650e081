"""A recording through OpenAI's realtime client, as a transcription session with turn detection."""

from __future__ import annotations

import asyncio
import base64

from openai import AsyncOpenAI
from speech import arguments, pieces, samples

RATE_HZ = 24_000
ITEM = "conversation.item.input_audio_transcription"


async def main() -> None:
    """Prints deltas; a new line for every turn."""
    args = arguments("OpenAI realtime transcription", "http://127.0.0.1:8000")
    client = AsyncOpenAI(api_key=args.token or "none", base_url=f"{args.server}/v1")
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        settings = {
            "format": {"type": "audio/pcm", "rate": RATE_HZ},
            "transcription": {"model": args.model},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 800},
        }
        await connection.session.update(session={"type": "transcription", "audio": {"input": settings}})
        spoken_s = len(samples(args.audio, RATE_HZ)) / 2 / RATE_HZ

        async def send() -> None:
            async for piece in pieces(args.audio, RATE_HZ, args.fast):
                await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
            await connection.input_audio_buffer.commit()

        sending = asyncio.create_task(send())
        heard_s = 0.0
        async for event in connection:
            if event.type == f"{ITEM}.delta":
                print(event.delta, end="", flush=True)
            elif event.type == f"{ITEM}.completed":
                print()
                heard_s += event.usage.seconds
                if heard_s > spoken_s - 0.01:  # the commit's own item is the last
                    break
            elif event.type == "error":
                raise SystemExit(event.error.message)
        await sending


if __name__ == "__main__":
    asyncio.run(main())
