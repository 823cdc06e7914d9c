//! The only place that prints.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the command line's printer"
)]

/// A result, on standard output.
pub(super) fn result(text: &str) {
    println!("{}", text.trim_end());
}

/// How far the work is, on standard error.
pub(super) fn progress(text: &str) {
    eprintln!("{text}");
}
