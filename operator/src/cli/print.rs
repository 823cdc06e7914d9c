//! The only place that writes to the terminal.

use std::io::{Write, stderr, stdout};

/// Writes to standard output. A reader that left early (`harmonybatch plan | head`) is no error.
pub(crate) fn output(text: &str) -> anyhow::Result<()> {
    match stdout()
        .write_all(text.as_bytes())
        .and_then(|()| stdout().flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes one line to standard error; there is nobody to tell if that fails.
pub(crate) fn error(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Puts a line in the place of the one that the terminal's cursor is in.
pub(crate) fn status(text: &str) {
    let _ = write!(stderr(), "\r\x1b[K{text}").and_then(|()| stderr().flush());
}
