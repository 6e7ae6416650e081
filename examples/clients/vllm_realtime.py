"""A recording through vLLM's realtime protocol."""

from __future__ import annotations

import asyncio
import base64
import json

import websockets
from speech import arguments, pieces


async def main() -> None:
    """Prints the deltas."""
    args = arguments("vLLM's /v1/realtime", "ws://127.0.0.1:8000")
    headers = {"Authorization": f"Bearer {args.token}"} if args.token else {}
    async with websockets.connect(f"{args.server}/v1/realtime", additional_headers=headers) as socket:

        async def send(kind: str, **fields: object) -> None:
            await socket.send(json.dumps({"type": kind, **fields}))

        async def speak() -> None:
            async for piece in pieces(args.audio, 16_000, args.fast):
                await send("input_audio_buffer.append", audio=base64.b64encode(piece).decode())
            await send("input_audio_buffer.commit", final=True)

        await send("session.update", model=args.model)
        await send("input_audio_buffer.commit")
        speaking = asyncio.create_task(speak())
        async for text in socket:
            event = json.loads(text)
            if event["type"] == "transcription.delta":
                print(event["delta"], end="", flush=True)
            elif event["type"] == "transcription.done":
                print(f"\n{event['usage']}")
                break
            elif event["type"] == "error":
                raise SystemExit(event["error"])
        await speaking


if __name__ == "__main__":
    asyncio.run(main())
