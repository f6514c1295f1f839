"""``python -m benchmarks.report``: the page and the plots from the newest records, or from those named."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import plots, record
from benchmarks.command import RESULTS
from benchmarks.page import page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "performance.md"


def newest(kind: str) -> Path | None:
    """Their names begin with the date."""
    return max(RESULTS.glob(f"*-{kind}.json"), default=None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report")
    parser.add_argument("--compare", type=Path, default=newest("compare"), help="a record of bench-compare")
    parser.add_argument("--micro", type=Path, default=newest("micro"), help="a record of bench-micro")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page; plots are written beside it")
    flags = parser.parse_args()
    if flags.compare is None:
        parser.error("there is no record of bench-compare yet")
    compare = record.read(flags.compare)
    micro = None if flags.micro is None else record.read(flags.micro)
    drawn = plots.draw(compare, flags.out.parent)
    flags.out.write_text(page(compare, micro, drawn))
    print(flags.out)


if __name__ == "__main__":
    main()
