"""How much audio a live program gives the model at once.

One token of 80 ms at a time is the least latency. With more, encoder frames share a pass over the weights and the
decoder guesses ahead, so that each token costs less (docs/live.md has the figures); the audio waits for it.
"""

from __future__ import annotations

from voxtral_edge.errors import UsageError

# A token of audio, at 16 kHz.
TOKEN_MS = 80
TOKEN_S = TOKEN_MS / 1000
TOKEN_SAMPLES = 1280
# The core takes more in one pass (kMaxPassRows), but beyond eight tokens a pass saves little and text comes in jerks.
MOST_STEP_TOKENS = 8


def step_tokens(step_ms: int) -> int:
    """Tokens per step; UsageError unless `step_ms` is 80, 160, … 640."""
    tokens, rest = divmod(step_ms, TOKEN_MS)
    if rest or not 1 <= tokens <= MOST_STEP_TOKENS:
        raise UsageError(
            f"a step of {step_ms} ms is not possible; choose {TOKEN_MS} to {MOST_STEP_TOKENS * TOKEN_MS} ms in steps "
            f"of {TOKEN_MS}"
        )
    return tokens


def round_tokens(streams: int, least_waiting: int, at_least: int = 1) -> int:
    """Tokens of each stream that one round of `streams` active ones takes: late streams share the rows of a batch, and
    take no more than the one that is least behind has waiting, because each row of another makes its step longer."""
    return max(at_least, min(MOST_STEP_TOKENS // streams, least_waiting))
