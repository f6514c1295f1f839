"""What crosses the wire: varints, frames, protobuf messages and their guards, addresses. Pure."""
