//! Generates the gRPC service traits and client stubs. The messages are those of
//! `veridical-proto`; protox compiles the files, so no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../proto/proto");
    let descriptors = protox::compile(["kv.proto", "rpc.proto", "auth.proto"], ["../proto/proto"])?;
    tonic_prost_build::configure()
        .extern_path(".mvccpb", "::veridical_proto::mvccpb")
        .extern_path(".etcdserverpb", "::veridical_proto::etcdserverpb")
        .compile_fds(descriptors)?;
    Ok(())
}
