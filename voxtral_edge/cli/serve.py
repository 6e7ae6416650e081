"""Serves live and recorded speech to text over HTTP, WebSocket and Wyoming.

  voxtral-edge serve                                     http://127.0.0.1:8000/ : a page with a microphone
  voxtral-edge serve -m PACKAGE --wyoming 127.0.0.1:10300
  VOXTRAL_EDGE_TOKEN=$(openssl rand -hex 32) voxtral-edge serve --host 0.0.0.0

Addresses: /v1/realtime (OpenAI transcription sessions and vLLM's protocol), /v1/audio/transcriptions/realtime
(Mistral's), POST /v1/audio/transcriptions (OpenAI's), /v1/models, /health, /metrics. SIGTERM and Ctrl-C let
open sessions say their last words. docs/server.md has a client for each.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import re
import ssl
import stat
import sys
from typing import TypeVar
from urllib.parse import urlsplit

from voxtral_edge.cli import model_options
from voxtral_edge.cli.main import EXIT_DONE, EXIT_ERROR
from voxtral_edge.engine import Engine, delay_tokens
from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.live_step import step_tokens
from voxtral_edge.machine import memory_bytes

Number = TypeVar("Number", int, float)

_DEFAULT_SESSIONS = 4
_MOST_SESSIONS = 1024
_LANGUAGE_TAG = re.compile("[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_CLIENTS_FAULT = ("Invalid ", "Unsupported upgrade", "ASGI callable returned without completing handshake")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `voxtral-edge serve`."""
    model_options.add_arguments(parser)
    _add_listeners(parser)
    _add_limits(parser)
    model_options.add_step(parser)
    parser.add_argument(
        "--alias",
        action="append",
        default=[],
        metavar="NAME",
        help="another name of the model; may be given several times",
    )
    parser.add_argument(
        "--language",
        action="append",
        default=[],
        type=_language,
        metavar="CODE",
        help="language that Wyoming advertises, e.g. en or pt-BR; may be given several times (default: the model's)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="least important messages that are written to stderr (%(default)s)",
    )


def _add_listeners(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("listeners")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    group.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (%(default)s)")
    group.add_argument(
        "--wyoming", metavar="HOST:PORT", help="also speak Wyoming there, e.g. 127.0.0.1:10300"
    )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        help="file with the bearer token (default: the variable VOXTRAL_EDGE_TOKEN)",
    )
    group.add_argument(
        "--insecure", action="store_true", help="allow listeners without a token that others can reach"
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin use the server, e.g. https://home.example",
    )
    group.add_argument(
        "--tls-cert", metavar="FILE", help="certificate chain; with --tls-key for https and wss"
    )
    group.add_argument("--tls-key", metavar="FILE", help="its private key")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--sessions",
        type=int,
        default=_DEFAULT_SESSIONS,
        metavar="N",
        help="streams at once, if memory holds them (%(default)s)",
    )
    group.add_argument(
        "--upload-mib", type=int, default=100, metavar="N", help="largest upload, MiB (%(default)s)"
    )
    group.add_argument(
        "--frame-kib",
        type=int,
        default=64,
        metavar="N",
        help="decoded audio in a message, KiB at most (%(default)s)",
    )
    group.add_argument(
        "--idle-s",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds without a message that end a session (%(default)g)",
    )
    group.add_argument(
        "--session-s",
        type=float,
        default=86400.0,
        metavar="S",
        help="longest session, seconds (%(default)g, a day)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs `voxtral-edge serve`; the exit code."""
    try:
        from voxtral_edge.server.limits import KIB, MIB, Limits
        from voxtral_edge.server.security import check_bind, read_token
        from voxtral_edge.server.service import ServiceOptions, bind, run_service
    except ImportError as error:
        raise DeviceError(
            f"the server does not load ({error}); run `pip install '.[server]'` in the source folder"
        ) from error
    delay_tokens(args.delay_ms)
    step_tokens(args.step_ms)
    token = read_token(args.token_file)
    wyoming = _address(args.wyoming) if args.wyoming else None
    check_bind(args.host, "HTTP", token is not None, args.insecure)
    if wyoming is not None:
        check_bind(wyoming[0], "Wyoming (which has no tokens)", False, args.insecure)
    limits = Limits(
        sessions=_within(args.sessions, 1, _MOST_SESSIONS, "--sessions"),
        upload_bytes=_within(args.upload_mib, 1, 1 << 20, "--upload-mib") * MIB,
        frame_bytes=_within(args.frame_kib, 1, 1 << 15, "--frame-kib") * KIB,
        idle_s=_within(args.idle_s, 1, 86400, "--idle-s"),
        session_s=_within(args.session_s, 1, 365 * 86400, "--session-s"),
    )
    options = ServiceOptions(
        host=args.host,
        port=_within(args.port, 0, 65535, "--port"),
        wyoming=wyoming,
        token=token,
        origins=tuple(map(_origin, args.allow_origin)),
        tls=_tls(args),
        delay_ms=args.delay_ms,
        step_ms=args.step_ms,
        aliases=tuple(args.alias),
        languages=tuple(args.language),
        limits=limits,
    )
    _log_to_stderr(args.log_level)
    _warn_of_readers(args.token_file, args.tls_key)
    bound = bind(options.host, options.port)
    if wyoming is not None:
        bind(*wyoming).close()  # an address in use is found out before a model of gigabytes is loaded
    engine = model_options.load_model(args)
    limits = dataclasses.replace(limits, sessions=_sessions_that_fit(engine, limits.sessions))
    complete = run_service(engine, dataclasses.replace(options, limits=limits), bound)
    return EXIT_DONE if complete else EXIT_ERROR


def _sessions_that_fit(engine: Engine, wanted: int) -> int:
    """`wanted`, or fewer where the memory that is free now would not hold their attention states."""
    state_bytes = int(engine.info().get("state_bytes", 0))
    if state_bytes <= 0:
        return wanted
    _, free_bytes = memory_bytes()
    fit = max(1, free_bytes * 9 // 10 // state_bytes)
    if fit < wanted:
        logging.getLogger("voxtral_edge.server").warning(
            "%d sessions instead of %d: one takes %d MB and %d MB are free",
            fit,
            wanted,
            state_bytes // 1_000_000,
            free_bytes // 1_000_000,
        )
    return min(wanted, fit)


def _language(text: str) -> str:
    if not _LANGUAGE_TAG.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no language tag; write e.g. en or pt-BR")
    return text


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--wyoming {text}: write HOST:PORT, e.g. 127.0.0.1:10300")
    return host.strip("[]"), int(port)


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    if args.tls_cert is None and args.tls_key is None:
        return None
    if args.tls_cert is None or args.tls_key is None:
        raise UsageError("--tls-cert and --tls-key belong together")
    for path in (args.tls_cert, args.tls_key):
        if not os.access(path, os.R_OK):
            raise UsageError(f"{path}: cannot be read")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:  # an encrypted key must not ask for its password in the middle of a start
        context.load_cert_chain(args.tls_cert, args.tls_key, password="")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--tls-cert {args.tls_cert}, --tls-key {args.tls_key}: not a PEM certificate chain and its unencrypted "
            f"private key ({error})"
        ) from error
    return context


def _warn_of_readers(*secrets: str | None) -> None:
    """A warning, not an error: in a container there is often nobody else to read."""
    for path in secrets:
        if path is not None and os.stat(path).st_mode & stat.S_IROTH:
            logging.getLogger("voxtral_edge.server").warning(
                "%s can be read by every user of this machine; chmod 600 it", path
            )


def _origin(text: str) -> str:
    with contextlib.suppress(ValueError):  # a bracket that is not closed
        parts = urlsplit(text)
        if (
            parts.scheme in ("http", "https")
            and parts.netloc
            and not parts.path.strip("/")
            and not parts.query
        ):
            return text
    raise UsageError(f"--allow-origin {text}: write scheme and host, e.g. https://home.example")


def _within(value: Number, least: Number, most: Number, option: str) -> Number:
    if not least <= value <= most:
        raise UsageError(f"{option} {value:g}: choose {least:g} to {most:g}")
    return value


def _log_to_stderr(level: str) -> None:
    """One line per message; systemd's journal has its own time stamps. What uvicorn says of wrong clients would let
    them fill the disk: "Invalid UTF-8 sequence …" with a traceback, and for each WebSocket that is refused (no
    token, no free session) an ERROR that the handshake was not completed; python-multipart has a line for every
    form that is none."""
    prefix = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format=prefix + "%(levelname)s %(message)s", force=True
    )
    logging.getLogger("voxtral_edge").setLevel(level.upper())
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.msg.startswith(_CLIENTS_FAULT))
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
