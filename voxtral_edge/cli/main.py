"""`voxtral-edge`: finds the subcommand, runs it, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 a typed error (one line on stderr), 2 wrong usage, 130 ended by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Generator, Sequence
from typing import Any, NoReturn

from voxtral_edge.errors import UsageError, VoxtralEdgeError

EXIT_DONE, EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

# Name -> (module, one line of help). A module is imported only when its command runs: `export` must work
# without the compiled module, and `--help` must be instant.
COMMANDS: dict[str, tuple[str, str]] = {
    "transcribe": (
        "voxtral_edge.cli.transcribe",
        "speech in files or on standard input to text or subtitles",
    ),
    "listen": (
        "voxtral_edge.cli.listen",
        "live captions from a microphone, or from a file played at its own speed",
    ),
    "enrol": ("voxtral_edge.cli.enrol", "voiceprints of people, so that their words carry their names"),
    "export": ("voxtral_edge.cli.export", "a checkpoint to a package that this program runs"),
    "verify": ("voxtral_edge.cli.verify", "check a package: hashes, tables, and that both engines agree"),
    "serve": (
        "voxtral_edge.cli.serve",
        "live and recorded speech over HTTP, WebSocket (OpenAI, vLLM, Mistral) and Wyoming",
    ),
    "cache": ("voxtral_edge.cli.cache", "permuted weights kept in files, so that models start quickly"),
    "bench": ("voxtral_edge.cli.bench", "measure speed against the 80 ms deadline and the memory floor"),
    "doctor": (
        "voxtral_edge.cli.doctor",
        "what this machine has, and whether the 4B model keeps up live on it",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's own) and returns the exit code."""
    _open_missing_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in options  # anywhere, also behind `cache add`, whose parser does not know it
    arguments = [word for word in options if word != "--debug"] + arguments[len(options) :]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows ?, not an error
    try:
        args = build_parser(arguments).parse_args(arguments)
        if args.command is None:
            build_parser([]).print_help(sys.stderr)
            return EXIT_USAGE
        code = int(importlib.import_module(COMMANDS[args.command][0]).run(args))
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: --help, --version, or wrong usage (it has printed its message)
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_DONE
    except Exception as error:  # the last line of defence: no traceback for users unless asked for
        code = _report(error, debug)
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()
        return code


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; of the subcommands only the one that `arguments` names is imported."""
    common = _Parser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="full traceback on errors"
    )
    parser = _Parser(
        prog="voxtral-edge",
        description="Live speech to text on the CPU of small devices.",
        epilog="`voxtral-edge COMMAND --help` lists a command's options.",
        formatter_class=_HelpLayout,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"voxtral-edge {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module_name, summary) in COMMANDS.items():
        if name == chosen:
            module = importlib.import_module(module_name)
            command = commands.add_parser(
                name,
                help=summary,
                description=(module.__doc__ or summary).strip(),
                formatter_class=_HelpLayout,
                parents=[common],
            )
            module.add_arguments(command)
        else:
            commands.add_parser(name, help=summary)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all other errors; argparse's own puts thirty lines of options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"voxtral-edge: error: {message}; see `{self.prog} --help`\n")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Refuses empty values: a variable that is not set (`-o "$FOLDER"`), which a path takes for this folder."""
        if not arg_string.strip() and action.nargs != argparse.PARSER and arg_string is not action.default:
            raise argparse.ArgumentError(action, "the value is empty")
        return super()._get_value(action, arg_string)


class _HelpLayout(argparse.HelpFormatter):
    """As wide as the terminal, 110 columns at most. Paragraphs are filled; one with indented lines, as examples have
    them, keeps its lines. Subcommands stand in the column of options, where their help fits beside them."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=min(110, shutil.get_terminal_size().columns - 2))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            paragraph
            if "\n " in f"\n{paragraph}"
            else textwrap.fill(
                " ".join(paragraph.split()), width, initial_indent=indent, subsequent_indent=indent
            )
            for paragraph in text.split("\n\n")
        )

    def _iter_indented_subactions(self, action: argparse.Action) -> Generator[argparse.Action, None, None]:
        yield from getattr(action, "_get_subactions", tuple)()


def _report(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if isinstance(error, VoxtralEdgeError):
        message = str(error)
    elif isinstance(error, MemoryError):
        message = "not enough memory; use a smaller precision, a shorter input or fewer streams"
    elif isinstance(error, OSError):
        where = error.filename or "standard output"  # what else is written has its own message
        message = f"{where}: {error.strerror}" if error.strerror else str(error)
    else:
        message = f"internal error ({type(error).__name__}: {error}); report what --debug prints"
    print(f"voxtral-edge: error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR


def _open_missing_streams() -> None:
    """Fills descriptors 0 to 2 where the caller closed them (`>&-`, some supervisors).

    Else the next file that is opened gets the number, and messages would be written into it. They are opened
    the wrong way round on purpose: using them fails with "Bad file descriptor" instead of losing text silently.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_WRONLY if mode == "r" else os.O_RDONLY)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
        # Messages for nobody are no error, results for nobody are.
        target = os.devnull if name == "stderr" else number
        setattr(sys, name, open(target, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def _discard_output() -> None:
    """Points standard output at nothing: nobody reads it any more (`voxtral-edge … | head -1`, not an error) or
    it cannot be written, and Python's flush at exit must not complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version() -> str:
    import voxtral_edge

    return voxtral_edge.__version__


if __name__ == "__main__":
    sys.exit(main())
