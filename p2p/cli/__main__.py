"""``python -m p2p.cli``."""

import sys

from p2p.cli.command import main

sys.exit(main())
