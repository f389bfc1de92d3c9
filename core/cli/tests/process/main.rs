//! The program as its users meet it: processes, sockets, signals, files, and the real
//! `etcdctl`.

mod bench_series;
mod benchmark;
mod checking;
mod comparison;
mod environment;
mod etcdctl;
mod etcdctl_api;
mod etcdctl_cluster;
mod grpc_codes;
mod joining;
mod kills;
mod lifecycle;
mod local_cluster;
mod lost_majority;
mod member;
mod nemesis;
mod open_files;
mod packages;
mod raw_grpc;
mod typed_client;
mod verified_bench;
