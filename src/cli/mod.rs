//! Floor 5: arguments and configuration → one operation → its report.

pub mod config;
pub mod credentials;
pub mod env;
pub mod exit;
pub mod interrupt;
pub mod places;

/// Runs the command line and returns the process's exit code.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
