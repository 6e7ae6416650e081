"""A recording through Wyoming, as Home Assistant sends it."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from speech import arguments, pieces
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient


async def main() -> None:
    """Prints the chunks as they come."""
    args = arguments("Wyoming over TCP", "tcp://127.0.0.1:10300")
    address = urlsplit(args.server)
    form = {"rate": 16_000, "width": 2, "channels": 1}
    async with AsyncTcpClient(address.hostname or "127.0.0.1", address.port or 10300) as client:

        async def speak() -> None:
            await client.write_event(Transcribe().event())
            await client.write_event(AudioStart(**form).event())
            async for piece in pieces(args.audio, 16_000, args.fast):
                await client.write_event(AudioChunk(audio=piece, **form).event())
            await client.write_event(AudioStop().event())

        speaking = asyncio.create_task(speak())
        while event := await client.read_event():
            if TranscriptChunk.is_type(event.type):
                print(TranscriptChunk.from_event(event).text, end="", flush=True)
            elif Transcript.is_type(event.type):
                print()
                break
            elif event.type == "error":
                raise SystemExit(event.data.get("text"))
        await speaking


if __name__ == "__main__":
    asyncio.run(main())
