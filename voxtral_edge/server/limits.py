"""Every bound of the server in one place. docs/server.md prints this table."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds per server, connection and message. Times are seconds, sizes are bytes."""

    sessions: int = 4  # streams at once, all protocols together; more are answered "busy"
    connections: int = 128  # TCP connections per listener; more are closed unread
    frame_bytes: int = 64 * KIB  # decoded audio in one realtime message or Wyoming chunk
    mistral_frame_bytes: int = (
        262_144  # the same in Mistral's dialect, whose documentation promises this size
    )
    control_bytes: int = 16 * KIB  # a realtime message without audio; a Wyoming header or data block
    header_bytes: int = 32 * KIB  # HTTP request line and headers
    upload_bytes: int = 100 * MIB  # one POST body
    form_fields: int = 32  # fields of one form
    field_bytes: int = 16 * KIB  # one form field that is not the file
    reference_bytes: int = 4 * MIB  # one recording of a known speaker, in base64: 10 s of 96 kHz stereo
    header_s: float = 5.0  # from the TCP connection to the end of the request's headers
    upload_s: float = 120.0  # from there to the end of the body
    first_message_s: float = 10.0  # from the handshake to the client's first message
    ping_s: float = 20.0  # between two signs of life: proxies close connections that are silent for a minute
    idle_s: float = 60.0  # between two messages of a client
    session_s: float = 24 * 3600.0  # one connection
    send_s: float = 10.0  # a client that takes nothing for this long is closed
    send_buffer_bytes: int = 64 * KIB  # unread by one client, in the kernel and again in asyncio
    drain_s: float = 7.0  # after SIGTERM, for finals to be computed and sent
    queued_audio_s: float = 4.0  # audio of one session that waits for the engine; then its socket is not read
    queued_events: int = 256  # events of one session that wait for its client; then it is not computed for
    protocol_errors: int = 16  # refused messages of one connection; then it is closed

    @property
    def websocket_bytes(self) -> int:
        """The largest WebSocket message that is read at all: base64 of the largest frame, and its JSON."""
        return max(self.frame_bytes, self.mistral_frame_bytes) * 4 // 3 + 4 * KIB


RETRY_AFTER_S = 5
