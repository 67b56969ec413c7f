//! The `qbak` binary: builds the runtime, runs the command line, returns the exit code.

fn main() -> std::process::ExitCode {
    qbak::cli::main()
}
