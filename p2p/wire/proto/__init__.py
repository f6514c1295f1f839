"""Generated protobuf classes; only the modules of messages in ``p2p.wire`` touch them."""
