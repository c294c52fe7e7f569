//! Generates the stubs. protox is a protoc written in Rust: nothing has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "../../../proto";
    println!("cargo:rerun-if-changed={proto}/headgate/v1");
    let files = protox::compile(["headgate/v1/prediction_service.proto"], [proto])?;
    tonic_prost_build::configure().build_server(false).build_transport(false).compile_fds(files)?;
    Ok(())
}
