//! The program as its users meet it: processes, sockets, signals, files, and the real
//! `etcdctl`.

mod checking;
mod environment;
mod etcdctl;
mod etcdctl_api;
mod etcdctl_cluster;
mod grpc_codes;
mod joining;
mod kills;
mod lifecycle;
mod lost_majority;
mod member;
mod raw_grpc;
mod verified_bench;
