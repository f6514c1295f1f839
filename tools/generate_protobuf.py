"""Generate ``*_pb2.py`` and ``*_pb2.pyi`` beside every ``p2p/**/*.proto``.

    python tools/generate_protobuf.py [--check]

Needs ``grpcio-tools==1.62.*``, whose output every protobuf runtime from 4.25 on loads. Each file is
registered as ``p2p_trio/…`` and not under its own path: a process has one pool of descriptors for all
packages, and names like ``identify.proto`` are taken by others. ``--check`` writes nothing and fails where
the tree differs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "p2p"


def generate(target: Path) -> dict[Path, str]:
    """What the generated files should hold, by their path in the tree."""
    sources = sorted(PACKAGE.rglob("*.proto"))
    arguments = [f"-Ip2p_trio={PACKAGE}", f"--python_out={target}", f"--pyi_out={target}"]
    arguments += [f"p2p_trio/{source.relative_to(PACKAGE).as_posix()}" for source in sources]
    if protoc.main(["protoc", *arguments]) != 0:
        raise SystemExit("protoc failed")
    made = {}
    for path in sorted((target / "p2p_trio").rglob("*_pb2.py*")):
        # protoc 25 leaves this generic bare, which strict type checkers refuse.
        text = path.read_text().replace("_Mapping]", "_Mapping[str, object]]")
        made[PACKAGE / path.relative_to(target / "p2p_trio")] = "# ruff: noqa\n" + text
    return made


def main() -> None:
    check = "--check" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        made = generate(Path(directory))
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if check and stale:
        raise SystemExit("out of date: " + ", ".join(str(path.relative_to(ROOT)) for path in stale))
    for path in stale:
        path.write_text(made[path])
    print(f"{len(made)} files, {len(stale)} {'stale' if check else 'written'}")


if __name__ == "__main__":
    main()
