"""The host: who dials, listens, connects and serves."""

from p2p.host.host import Host
from p2p.host.reports import HostStatistics

__all__ = ["Host", "HostStatistics"]
