"""The ``p2p`` command: its arguments, and how it ends.

Exit status: 0 done; 1 a failure, told on stderr in a sentence; 2 wrong usage; 130 interrupted; 141 whoever read
our output is gone. A traceback is a bug.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import trio

from p2p.cli import echo, get, id, identify, node, perf, ping, send
from p2p.cli.output import Output, StdoutClosed
from p2p.errors import P2PError
from p2p.version import VERSION

_FAILED = 1
_INTERRUPTED = 130
_NOBODY_READS = 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="p2p", description="libp2p from the command line.")
    parser.add_argument("--version", action="version", version=f"p2p {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (send, get, id, node, ping, identify, echo, perf):
        command = module.add_to(commands)
        command.add_argument("--json", action="store_true", help="JSON, one object per line, for programs")
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``argv`` (the process's own by default) and return its exit status."""
    arguments = _parser().parse_args(argv)
    output = Output(as_json=arguments.json)
    status = 0
    try:
        # An interrupt must not hit the middle of a task that other tasks rely on.
        trio.run(arguments.run, arguments, output, restrict_keyboard_interrupt_to_checkpoints=True)
    except* KeyboardInterrupt:
        status = _INTERRUPTED
    except* StdoutClosed:
        status = _NOBODY_READS
    except* (P2PError, OSError, trio.TooSlowError, trio.BrokenResourceError) as group:
        status = status or _FAILED
        for text in dict.fromkeys(map(_named, _failures(group))):
            output.fail(*text)
    return status


def _failures(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _failures(inner)
    else:
        yield error


def _named(error: BaseException) -> tuple[str, str]:
    if isinstance(error, trio.TooSlowError):
        return type(error).__name__, str(error) or "no answer in time"
    return type(error).__name__, str(error) or type(error).__name__
