"""An identity that outlives the process."""

import tempfile
from pathlib import Path

from p2p import Identity
from p2p.errors import InvalidKey


def load_or_create(path: Path) -> Identity:
    try:
        return Identity.load(path)
    except FileNotFoundError:
        identity = Identity.generate()
        identity.save(path)
        return identity


with tempfile.TemporaryDirectory() as directory:
    path = Path(directory) / "key"
    first = load_or_create(path)
    print("the same peer:", load_or_create(path).peer_id == first.peer_id)
    print("mode:", oct(path.stat().st_mode & 0o777))
    path.chmod(0o644)
    try:
        Identity.load(path)
    except InvalidKey:
        print("refused: others can read it")

# Output:
# the same peer: True
# mode: 0o600
# refused: others can read it
