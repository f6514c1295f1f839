"""Generated protobuf classes; only ``p2p.wire.messages`` touches them."""
