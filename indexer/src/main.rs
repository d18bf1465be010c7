//! The indexer of Ebb.

fn main() -> std::process::ExitCode {
    // What a future does is compiled where it is awaited last; the library would be compiled twice if that were here.
    indexer::cli::main()
}
