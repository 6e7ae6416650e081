"""Turns, from the model's own output: speech begins with its first text and has ended when it has written
none for a given time. No other detector runs, so a turn is reported no earlier than the delay allows."""

from __future__ import annotations

from dataclasses import dataclass

from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.server.session import Update


@dataclass(frozen=True)
class Turn:
    """A turn began or ended at `at_ms` of the utterance's audio; `text` is what an ended one said."""

    began: bool
    at_ms: int
    text: str = ""


class TurnDetector:
    """silence_ms: how long the model writes nothing before a turn counts as over. padding_ms: how much
    earlier than its first text the turn is said to begin, for the length of the first word."""

    def __init__(self, silence_ms: int, padding_ms: int) -> None:
        self._silence_ms = silence_ms
        self._padding_ms = padding_ms
        self._text = ""
        self._last_text_token = 0
        self._floor_ms = 0

    def take(self, update: Update) -> list[Turn | str]:
        """What an update brought, in order: turns that began or ended, and between them text of the open
        turn. The text of token k is heard by 80·(k − 1) ms (specification §6)."""
        news: list[Turn | str] = []
        for token, text in update.pieces:
            news += self._silence_until(token)
            if not self._text:
                text = text.lstrip()
                if not text:
                    continue
                begin_ms = max(self._floor_ms, (token - 1) * TOKEN_MS - self._padding_ms)
                news.append(Turn(True, begin_ms))
            self._text += text
            self._last_text_token = token
            news.append(text)
        news += self._silence_until(update.generated_tokens)
        return news

    def end(self) -> str:
        """Ends the utterance; the text of the turn that was open."""
        text, self._text = self._text, ""
        self._last_text_token = self._floor_ms = 0
        return text.strip()

    def _silence_until(self, token: int) -> list[Turn]:
        if not self._text or (token - self._last_text_token) * TOKEN_MS < self._silence_ms:
            return []
        end_ms = max(0, self._last_text_token - 1) * TOKEN_MS + self._silence_ms
        text, self._text = self._text.strip(), ""
        self._floor_ms = end_ms
        return [Turn(False, end_ms, text)]
