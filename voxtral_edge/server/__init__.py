"""`voxtral-edge serve`: one process, one engine, many live streams, several protocols.

    client ── dialect ── Session ── Lane ┐
    client ── dialect ── Session ── Lane ├─ Scheduler (one thread) ── run_streams ── Engine
    client ── dialect ── Session ── Lane ┘

A dialect (`vllm_dialect`, `openai_dialect`, `mistral_dialect`, `transcriptions`, `wyoming_server`) translates
one wire protocol; a `Session` is audio in and events out in the asyncio world; a `Lane` is its end in the
scheduler thread, the only thread that touches the streams. Queues are bounded in both directions: a client
that sends too fast is not read, and one that does not read is not computed for.
"""
