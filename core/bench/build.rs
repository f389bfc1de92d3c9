//! Generates the client stub of etcd's service KV, the only one that a benchmark calls.
//! The messages are those of `veridical-proto`; protox compiles the files, so no protoc is
//! needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../proto/proto");
    let mut descriptors = protox::compile(["kv.proto", "rpc.proto"], ["../proto/proto"])?;
    for file in &mut descriptors.file {
        file.service.retain(|service| service.name() == "KV");
    }
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".mvccpb", "::veridical_proto::mvccpb")
        .extern_path(".etcdserverpb", "::veridical_proto::etcdserverpb")
        .compile_fds(descriptors)?;
    Ok(())
}
