"""Looking inside a transcription: every stage's numbers, for comparing engines and checkpoints."""

from __future__ import annotations

from typing import Any

from voxtral_edge.audio import as_pcm
from voxtral_edge.engine import Engine


def trace(engine: Engine, pcm: Any, delay_tokens: int = 6, stop_at_eos: bool = True) -> dict[str, Any]:
    """Transcribes `pcm` (1-D float32 or int16, 16 kHz mono) and returns what every stage computed.

    With S the padded length in samples, m = S/160 mel frames, n = S/1280 tokens and P the prompt length, the
    dict holds (float32 arrays unless said otherwise):
      mel        [mel_bins, m]   log-mel of the padded signal
      encoder    [m/2, encoder width]   after the final norm
      projector  [n, decoder width]     audio embeddings
      logits     [n − P + 1, vocabulary]
      ids        int64 [n + 1]   prompt ids, then the generated ids
    and what else the native module records. With `stop_at_eos` the tokens end at the model's end-of-sequence
    token, as the reference implementations' offline loops do (specification §6); a live stream never ends
    there. Any delay of 1 token (80 ms) or more can be traced. Memory grows with the length: meant for clips
    of seconds, not for hours.
    """
    stream = engine.core_stream(int(delay_tokens), stop_at_eos=stop_at_eos, trace=True)
    stream.feed(as_pcm(pcm))
    stream.finish()
    return dict(stream.trace())
