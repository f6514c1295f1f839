"""The rules of the house, as functions over syntax trees. ``test_architecture.py`` applies and proves them.

Each rule takes a :class:`Module` and gives findings, one line of text each. They read the source and import
nothing, so that a module cannot talk its way around them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    path: str
    source: str
    tree: ast.Module
    is_package: bool = False

    @classmethod
    def of(cls, name: str, source: str, *, path: str = "", is_package: bool = False) -> Module:
        return cls(name, path or name.replace(".", "/") + ".py", source, ast.parse(source), is_package)

    def under(self, *names: str) -> bool:
        """Whether it is one of these modules, or inside one of these packages."""
        return any(self.name == name or self.name.startswith(name + ".") for name in names)


def modules_of(package: str) -> dict[str, Module]:
    """All modules of a directory below the root, generated code apart."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.name.endswith("_pb2.py"):
            continue
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module.of(
            name, path.read_text(), path=str(path.relative_to(ROOT)), is_package=is_package
        )
    return found


Rule = Callable[[Module], Iterator[str]]


# --- imports ------------------------------------------------------------------------------------------


def imports(module: Module) -> Iterator[tuple[int, str, str]]:
    """Every import, wherever it stands: (line, module, name), the name empty in ``import x``."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            parts = module.name.split(".")
            if node.level:
                parts = parts[: len(parts) - node.level + module.is_package]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            else:
                base = node.module or ""
            for alias in node.names:
                yield node.lineno, base, alias.name


#: The longest matching name decides. Equal ranks may import each other, but for what is blind.
RANKS = {
    "p2p.errors": 0,
    "p2p.frozen": 0,
    "p2p.lazily": 0,
    "p2p.version": 0,
    "p2p.wire": 1,
    "p2p.identity": 1,
    "p2p.limits": 1,
    "p2p.flow": 1,
    "p2p.resources": 1,
    "p2p.abc": 2,
    "p2p.events": 2,
    "p2p.routing": 2,
    "p2p.streams": 2,
    "p2p.peerstore": 2,
    "p2p.muxers.session": 2,  # vocabulary, as abc is
    "p2p.negotiation": 3,
    "p2p.security": 3,
    "p2p.muxers": 3,
    "p2p.transports": 4,
    "p2p.host": 5,
    "p2p.protocols": 5,
    "p2p.discovery": 5,
    "p2p.testing": 6,
    "p2p.cli": 6,
    "p2p": 7,
}

#: Blind to each other: the children of ``p2p.protocols`` and ``p2p.discovery``, and the host.
BLIND = ("p2p.host", "p2p.protocols.*", "p2p.discovery.*")

#: Who may see whom all the same, and why.
SEES: Mapping[tuple[str, str], str] = {
    ("p2p.host", "p2p.protocols.identify"): "every host identifies; laziness rests on what peers say",
}


def rank(name: str) -> int:
    while name not in RANKS:
        name = name.rpartition(".")[0]
    return RANKS[name]


def blind_part(name: str) -> str | None:
    """The part of the tree, blind to its like, that a module belongs to."""
    parts = name.split(".")
    for pattern in BLIND:
        depth = pattern.count(".") + 1
        if pattern.removesuffix(".*") == ".".join(parts[: depth - pattern.endswith(".*")]):
            return ".".join(parts[:depth])
    return None


def imports_go_down(known: frozenset[str]) -> Rule:
    """``known`` holds the names of all modules, to tell ``from package import module`` from a name."""

    def rule(module: Module) -> Iterator[str]:
        for line, base, name in imports(module):
            if base.partition(".")[0] != "p2p":
                continue
            target = f"{base}.{name}" if f"{base}.{name}" in known else base
            if rank(target) > rank(module.name):
                yield f"{module.path}:{line}: imports {target}, which is above it"
            ours, theirs = blind_part(module.name), blind_part(target)
            if ours and theirs and ours != theirs and (ours, theirs) not in SEES:
                yield f"{module.path}:{line}: {ours} is blind to {theirs}"

    return rule


def no_import_cycles(modules: Mapping[str, Module]) -> Iterator[str]:
    """Cycles of imports that are executed; a ``TYPE_CHECKING`` block is not."""
    edges: dict[str, set[str]] = {}
    for module in modules.values():
        hidden = {
            id(inner)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            for inner in ast.walk(node)
        }
        visible = [n for n in module.tree.body if id(n) not in hidden]
        seen = Module(module.name, "", "", ast.Module(visible, []), module.is_package)
        targets = {
            f"{base}.{name}" if f"{base}.{name}" in modules else base for _, base, name in imports(seen)
        }
        edges[module.name] = {target for target in targets if target in modules} - {module.name}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> Iterator[str]:
        if name in trail:
            yield " → ".join([*trail[trail.index(name) :], name])
        elif name not in done:
            for target in sorted(edges[name]):
                yield from walk(target, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        yield from walk(name, ())


def no_import_in_function(module: Module) -> Iterator[str]:
    for function in ast.walk(module.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield f"{module.path}:{node.lineno}: import inside a function"


#: Where Trio may be imported: whole packages, modules, and last names.
TRIO_PACKAGES = ("p2p.host", "p2p.transports", "p2p.testing", "p2p.cli", "p2p.discovery")
TRIO_MODULES = (
    "p2p.errors",
    "p2p.abc",
    "p2p.events",
    "p2p.routing",
    "p2p.streams",
    "p2p.protocols.identify.push",
    "p2p.peerstore.sqlite",
)
TRIO_NAMES = frozenset(
    {"service", "channel", "connection", "stream", "endpoint", "ending", "select", "waiting", "writing"}
)
#: Protocols of one file each, service and codec in one.
TRIO_PROTOCOLS = ("p2p.protocols.ping", "p2p.protocols.fetch", "p2p.protocols.perf", "p2p.protocols.echo")
#: What a pure module has no business with: other runtimes, clocks, randomness, the outside world.
IMPURE = frozenset(
    {"trio", "anyio", "asyncio", "time", "random", "secrets", "socket", "threading", "subprocess", "select"}
)

#: What a pure module needs all the same, and why.
PURE_NEEDS = {("p2p.muxers.scratch", "threading"): "one buffer for each thread, since a thread runs one Trio"}


def purity(module: Module) -> Iterator[str]:
    """Bytes in, facts out: only what says so by its name or place touches Trio."""
    if module.under(*TRIO_PACKAGES, *TRIO_PROTOCOLS) or module.name in TRIO_MODULES:
        return
    if module.name.rpartition(".")[2] in TRIO_NAMES:
        return
    for line, base, _ in imports(module):
        if base.partition(".")[0] in IMPURE and (module.name, base) not in PURE_NEEDS:
            yield f"{module.path}:{line}: pure by its name, and imports {base}"


def import_site(package: str, *sites: str) -> Rule:
    """A third-party package that is imported in the named places only."""

    def rule(module: Module) -> Iterator[str]:
        if not module.under(*sites):
            for line, base, _ in imports(module):
                if base.partition(".")[0] == package:
                    yield f"{module.path}:{line}: {package} is imported in {', '.join(sites)} only"

    return rule


def generated_code_stays_in_wire(module: Module) -> Iterator[str]:
    if not module.under("p2p.wire"):
        for line, base, name in imports(module):
            if base.endswith("_pb2") or name.endswith("_pb2") or base.startswith("google.protobuf"):
                yield f"{module.path}:{line}: protobuf is touched in p2p.wire only"


#: Formats that run code when they are read.
REFUSED_IMPORTS = frozenset({"pickle", "marshal", "shelve", "yaml", "ecdsa", "fastecdsa"})


def refused_imports(module: Module) -> Iterator[str]:
    for line, base, _ in imports(module):
        if base.partition(".")[0] in REFUSED_IMPORTS:
            yield f"{module.path}:{line}: {base} is not used here"


# --- files and names ----------------------------------------------------------------------------------

LONGEST = 500


def file_size(module: Module) -> Iterator[str]:
    lines = module.source.count("\n")
    if lines > LONGEST:
        yield f"{module.path}: {lines} lines; one subject fits {LONGEST}"


SAY_NOTHING = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "types"})


def names_say_something(module: Module) -> Iterator[str]:
    for part in module.name.split("."):
        if part.strip("_") in SAY_NOTHING:
            yield f"{module.path}: {part!r} says nothing"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and re.match(r"_?I[A-Z][a-z]|.*Manager$", node.name):
            yield f"{module.path}:{node.lineno}: {node.name} says nothing"


UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")


def nothing_unfinished(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.source.splitlines(), 1):
        if UNFINISHED.search(line):
            yield f"{module.path}:{number}: unfinished"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield f"{module.path}:{node.lineno}: not implemented"


_PLACES = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w")


def no_place_of_a_machine(module: Module) -> Iterator[str]:
    """No path that exists on somebody's machine only."""
    for number, line in enumerate(module.source.splitlines(), 1):
        if _PLACES.search(line):
            yield f"{module.path}:{number}: a path of one machine"


# --- calls --------------------------------------------------------------------------------------------


def called(node: ast.AST) -> str:
    """The last name of what is called, or nothing."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            return node.func.attr
        if isinstance(node.func, ast.Name):
            return node.func.id
    return ""


def _is_infinite(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return text in {"math.inf", "inf", "float('inf')"}


def channels_are_bounded(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and "open_memory_channel" in ast.unparse(node.func):
            if any(_is_infinite(argument) for argument in node.args):
                yield f"{module.path}:{node.lineno}: an unbounded channel"


#: What nobody owns, or what guesses.
REFUSED_CALLS = frozenset(
    {"spawn_system_task", "hasattr", "setattr", "delattr", "eval", "exec", "start_thread_soon"}
)


def refused_calls(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and called(node) in REFUSED_CALLS:
            yield f"{module.path}:{node.lineno}: {called(node)} is not used here"


def no_fixed_hash_seed(module: Module) -> Iterator[str]:
    """Hashes are random so that a peer cannot make keys collide."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and node.value == "PYTHONHASHSEED":
            yield f"{module.path}:{node.lineno}: the hash seed is left alone"


def shields_end(module: Module) -> Iterator[str]:
    """A shielded scope has a deadline."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and called(node) == "CancelScope":
            given = {keyword.arg for keyword in node.keywords}
            if "shield" in given and not given & {"deadline", "relative_deadline"}:
                yield f"{module.path}:{node.lineno}: a shield without a deadline"
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Attribute) and target.attr == "shield" for target in node.targets
        ):
            yield f"{module.path}:{node.lineno}: a shield is given where its scope is made"


#: No test sleeps as long as this for real: its own timeout would end it.
SURELY_VIRTUAL = 60


#: A module that names one of these runs (also) in virtual time.
VIRTUAL = re.compile(r"\b(autojump_clock|mock_clock|MockClock|deterministic)\b")


def no_sleep_on_literals(module: Module) -> Iterator[str]:
    """A test waits for what happens, not for so many seconds; virtual seconds cost nothing and are exact.

    An async test is run by pytest-trio, in virtual time only with a clock among its arguments. Of all else in a
    module that makes virtual time itself, it is taken that it runs there.
    """

    def walk(node: ast.AST, virtual: bool) -> Iterator[str]:
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test"):
            arguments = {argument.arg for argument in node.args.args + node.args.kwonlyargs}
            virtual = bool(arguments & {"autojump_clock", "mock_clock"})
        if isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func)
            seconds = node.args[0].value if isinstance(node.args[0], ast.Constant) else 0
            real = isinstance(seconds, int | float) and 0 < seconds < SURELY_VIRTUAL and not virtual
            if name == "time.sleep" or (name in {"trio.sleep", "anyio.sleep"} and real):
                yield f"{module.path}:{node.lineno}: {ast.unparse(node)} synchronises nothing"
        for child in ast.iter_child_nodes(node):
            yield from walk(child, virtual)

    yield from walk(module.tree, bool(VIRTUAL.search(module.source)))


# --- varints, and the two walls -----------------------------------------------------------------------


def varints_are_read_in_one_place(module: Module) -> Iterator[str]:
    """Elsewhere nobody takes bytes apart by their eighth bit, nor reads a length of unbounded size."""
    if module.under("p2p.wire", "p2p.streams", "tests"):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant) and side.value in (0x7F, 0x80):
                    yield f"{module.path}:{node.lineno}: a varint taken apart by hand"
    for line, base, name in imports(module):
        if base == "varint" or (base == "p2p.wire.varint" and not name.startswith("encode")):
            yield f"{module.path}:{line}: varints are read by p2p.wire.framing and p2p.streams"


#: The only places that may catch whatever comes.
WALLS = ("p2p.host.serving", "p2p.host.connections")
#: What holds an exception for a moment and raises it again where its frame allows.
HOLDS = {
    "p2p.host.host": "tells the failures of its parts from the exception of its body, and raises all of them",
    "p2p.testing.network": "lets the body's exception out bare, past a nursery the caller knows nothing of",
}
BROAD = frozenset({"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup"})


def broad_excepts_are_walls(module: Module) -> Iterator[str]:
    """A handler that undoes and raises again is no wall."""
    if module.name in WALLS or module.name in HOLDS:
        return
    for node in ast.walk(module.tree):
        if called(node) == "suppress" and isinstance(node, ast.Call):
            if any(ast.unparse(argument) in BROAD for argument in node.args):
                yield f"{module.path}:{node.lineno}: suppresses everything"
        if not isinstance(node, ast.ExceptHandler):
            continue
        last = node.body[-1]
        if isinstance(last, ast.Raise) and last.exc is None:
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if any(kind is None or ast.unparse(kind).rpartition(".")[2] in BROAD for kind in caught):
            yield f"{module.path}:{node.lineno}: catches everything, and is no wall"


def package_rules(modules: Mapping[str, Module]) -> dict[str, Rule]:
    """What holds for the package, by name."""
    return {
        "imports go down": imports_go_down(frozenset(modules)),
        "no import in a function": no_import_in_function,
        "purity": purity,
        "multiaddr has one site": import_site("multiaddr", "p2p.wire.addresses"),
        "generated code stays in wire": generated_code_stays_in_wire,
        "refused imports": refused_imports,
        "file size": file_size,
        "names say something": names_say_something,
        "nothing unfinished": nothing_unfinished,
        "no place of a machine": no_place_of_a_machine,
        "channels are bounded": channels_are_bounded,
        "refused calls": refused_calls,
        "no fixed hash seed": no_fixed_hash_seed,
        "shields end": shields_end,
        "varints are read in one place": varints_are_read_in_one_place,
        "broad excepts are walls": broad_excepts_are_walls,
    }


def test_rules() -> dict[str, Rule]:
    """What holds for the tests."""
    return {
        "file size": file_size,
        "no sleep on literals": no_sleep_on_literals,
        "nothing unfinished": nothing_unfinished,
        "no place of a machine": no_place_of_a_machine,
    }
