"""Two live sessions beside each other in asyncio; words are printed as they come.

python examples/live_async.py samples/room.mp3 samples/pin.ogg
"""

import asyncio
import sys

import voxtral_edge as ve

if len(sys.argv) < 2:
    sys.exit(__doc__)


async def follow(engine: ve.Engine, path: str) -> None:
    async for event in engine.listen_async(path):
        if isinstance(event, ve.WordEvent):
            print(f"{path}: {event.end:5.2f} s {event.text}", flush=True)


async def main() -> None:
    engine = ve.load("tiny-en")
    await asyncio.gather(*(follow(engine, path) for path in sys.argv[1:]))


asyncio.run(main())
