"""The same work by every implementation, each with itself: ``nox -s bench-compare``."""

import sys

from benchmarks.command import main
from benchmarks.implementations import FLOORS, OTHERS

sys.exit(main("compare", [*FLOORS, "ours", *OTHERS]))
