//! Compiles the .proto files without protoc: protox is a compiler written in Rust.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "kv.proto",
        "rpc.proto",
        "auth.proto",
        "command.proto",
        "peer.proto",
        "native.proto",
        "snapshot.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(&out)
        .compile_fds(descriptors)?;
    Ok(())
}
