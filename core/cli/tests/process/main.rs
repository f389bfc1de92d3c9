//! The program as its users meet it: processes, sockets, signals, files, and the real
//! `etcdctl`.

mod checking;
mod comparison;
mod etcdctl;
mod etcdctl_api;
mod etcdctl_cluster;
mod joining;
mod kills;
mod lifecycle;
mod lost_majority;
mod member;
mod packages;
mod verified_bench;
