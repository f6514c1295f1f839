"""What the commands print: sentences for people, or one JSON object per line. Answers on stdout, errors on stderr."""

from __future__ import annotations

import json
import os
import sys

from p2p.wire.printable import printable

#: A line of an error's text; the name of a peer and an address fit.
_ERROR_LINE = 400


class StdoutClosed(Exception):
    """Who read our stdout is gone: there is nobody to tell, so the command ends without a word."""


class Output:
    """``as_json``: JSON lines instead of sentences."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def tell(self, event: str, sentence: str | None, **facts: object) -> None:
        """One thing that happened: ``sentence`` for people (None: not worth one), ``facts`` for programs.

        Text of a peer in ``sentence`` must have gone through ``printable``; JSON escapes its own.
        Raises ``StdoutClosed``.
        """
        line = json.dumps({"event": event, **facts}) if self.as_json else sentence
        if line is None:
            return
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # The interpreter flushes stdout once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise StdoutClosed from None

    def note(self, event: str, sentence: str, **facts: object) -> None:
        """As :meth:`tell`, on stderr: for commands whose stdout is data."""
        line = json.dumps({"event": event, **facts}) if self.as_json else sentence
        if sys.stderr is None:  # closed before we began: ``print`` would take stdout for it
            return
        try:
            print(line, file=sys.stderr, flush=True)
        except BrokenPipeError:
            # Who does not read our remarks may want the work to go on.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def aside(self, event: str, sentence: str, **facts: object) -> None:
        """What is not the answer: a sentence on stderr, or a JSON line among the others on stdout."""
        if self.as_json:
            self.tell(event, None, **facts)
        else:
            self.note(event, sentence)

    def fail(self, error: str, message: str) -> None:
        """The failure called ``error``, on stderr; nothing in its lines moves a cursor."""
        lines = [printable(line, _ERROR_LINE) for line in message.split("\n")]
        self.note("error", "p2p: " + "\n".join(lines), error=error, message=message)


def duration(seconds: float) -> str:
    """``312 µs``, ``4.52 ms``, ``1.25 s``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.2f} ms"
    return f"{seconds:.2f} s"


def size(count: float) -> str:
    """``17 B``, ``64.0 MiB``."""
    if count < 1024:
        return f"{count:.0f} B"
    power = 1 if count < 1024**2 else 2 if count < 1024**3 else 3
    return f"{count / 1024**power:.1f} {' KMG'[power]}iB"
