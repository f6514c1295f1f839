"""Two processes of ours beside the floor: ``nox -s bench-macro``."""

import sys

from benchmarks.command import main
from benchmarks.implementations import FLOORS

sys.exit(main("macro", [*FLOORS, "ours"]))
