"""What looks as if it took apart bytes of a peer, found in the source.

The rule. A function or method is a candidate when

- it is given bytes (a parameter annotated ``bytes``, ``bytearray``, ``memoryview`` or ``Buffer``) and its name begins
  with one of ``VERBS``; or it is async, so that it may wait for them, and its name begins with one of ``WAITING``;
- it is public: its own name has no leading underscore, whatever its class is called;
- it is not a declaration only: a member of a ``Protocol``, or abstract;
- it is not part of ``p2p.testing``, ``p2p.cli`` or generated code.

So a parser is named with one of these verbs: no more discipline is asked for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.rules import Module

WAITING = ("decode", "negotiate", "parse", "propose", "read", "receive", "respond", "secure")
VERBS = (
    *WAITING, "accept", "add", "check", "feed", "from", "load", "open", "split", "take", "unpack", "unseal", "verify",
)  # fmt: skip
_BYTES = re.compile(r"\b(bytes|bytearray|memoryview|Buffer)\b")
_APART = ("p2p.testing", "p2p.cli", "p2p.wire.proto")


def candidates(module: Module) -> Iterator[str]:
    """The dotted names of the candidates in ``module``."""
    if not module.under(*_APART):
        yield from _in_body(module.name, module.tree.body)


def _in_body(prefix: str, body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        name = f"{prefix}.{getattr(node, 'name', '')}"
        if isinstance(node, ast.ClassDef):
            if not any(ast.unparse(kind).partition("[")[0].endswith("Protocol") for kind in node.bases):
                yield from _in_body(name, node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if _is_candidate(node):
                yield name
        elif isinstance(node, ast.If | ast.Try):
            yield from _in_body(prefix, [*node.body, *node.orelse])


def _is_candidate(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    verb = node.name.partition("_")[0]
    if any(ast.unparse(decorator).endswith("abstractmethod") for decorator in node.decorator_list):
        return False
    waits = isinstance(node, ast.AsyncFunctionDef) and verb in WAITING
    return waits or (verb in VERBS and _is_given_bytes(node))


def _is_given_bytes(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [extra for extra in (node.args.vararg, node.args.kwarg) if extra is not None]
    annotations = [
        ast.unparse(argument.annotation) for argument in arguments if argument.annotation is not None
    ]
    return any(_BYTES.search(annotation.partition("Callable")[0]) for annotation in annotations)
