//! The etcd v3 API, peer frames, commands and snapshot records as protobuf messages.
