"""The version of this distribution; its metadata are made from here (``tool.hatch.version``).

Not the other way round: asking for installed metadata loads 35 modules of the standard library.
"""

from __future__ import annotations

DISTRIBUTION = "p2p-trio"
VERSION = "0.1.0.dev0"
