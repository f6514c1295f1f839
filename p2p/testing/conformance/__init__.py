"""Suites that tell whether a part keeps the laws of its kind, for parts of this package and of others.

One module per kind: :mod:`raw_streams`, :mod:`stream_transports`, :mod:`securities`, :mod:`muxers`,
:mod:`streams`, :mod:`transports`. Each holds ``check_…`` functions, gathered in ``CHECKS``, and says what
*maker* they take: what makes the thing to be checked, afresh for each check. Run one check per test, or all
with ``run_all``.

A check fails with :class:`CheckFailed`, an ``AssertionError`` that names it. Checks need nothing of a test
framework and run under any clock; where the real network is not the subject, the autojump clock is
quickest.
"""

from p2p.testing.conformance.verdict import CheckFailed

__all__ = ["CheckFailed"]
