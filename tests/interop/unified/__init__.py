"""Our program for the transport test of libp2p/unified-testing."""
