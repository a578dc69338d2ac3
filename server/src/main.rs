//! The `bailiwick` binary.

use std::io::{self, Write as _};
use std::process::ExitCode;

use bailiwick::config::{self, Startup};
use bailiwick::transfer::{self, Completion};
use bailiwick::{demo, logging, run};

/// Small allocations and releases make up much of a write; the system's allocator is slower at
/// them, and packs them less tightly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for a configuration that is not accepted.
const EXIT_CONFIGURATION: u8 = 2;

/// The exit code of an import or export that has left something out.
const EXIT_PARTIAL: u8 = 3;

fn main() -> ExitCode {
    match config::load(std::env::args_os()) {
        Ok(Startup::Run(settings)) => start(settings),
        Ok(Startup::Demo(args)) => match demo::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bailiwick demo: {error}");
                // Nodes that did start end with the process.
                std::process::exit(1);
            }
        },
        Ok(Startup::Import(args)) => report("import", transfer::import(&args)),
        Ok(Startup::Export(args)) => report("export", transfer::export(&args)),
        Ok(Startup::Print(text)) => {
            // A reader that has seen enough, such as `head`, is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bailiwick: {error}");
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
}

fn report(command: &str, outcome: Result<Completion, transfer::Error>) -> ExitCode {
    match outcome {
        Ok(Completion::Whole) => ExitCode::SUCCESS,
        Ok(Completion::Partial) => ExitCode::from(EXIT_PARTIAL),
        Err(error) => {
            eprintln!("bailiwick {command}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(settings: config::Store) -> ExitCode {
    let logging = match logging::start(&settings.load()) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("bailiwick: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run::run(settings, logging) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bailiwick: {error}");
            // Other threads may be in the middle of something; the process ends all the same.
            std::process::exit(1);
        }
    }
}
