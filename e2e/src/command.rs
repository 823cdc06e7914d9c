//! Running programs: a failure names the component, the command and the end of what it wrote.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Lines of a log that an error shows.
const SHOWN_LINES: usize = 30;

/// Runs `command` to its end and returns its standard output.
///
/// # Errors
/// Where the program cannot be started or ends with another status than 0.
pub(crate) fn run(component: &str, command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{component}: cannot start {}", line(command)))?;
    let standard = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = format!("{standard}{}", String::from_utf8_lossy(&output.stderr));
        bail!(
            "{component}: {} ended with {}\n{}",
            line(command),
            output.status,
            last_lines(&said)
        );
    }
    Ok(standard.into_owned())
}

/// The command as a person would type it, near enough to try it again.
fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The end of a text, indented.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    shown
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The end of a log file, for an error that concerns its component.
pub(crate) fn end_of_log(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => format!(
            "the end of {}:\n{}",
            log.display(),
            last_lines(&String::from_utf8_lossy(&bytes))
        ),
        Err(error) => format!("no log at {}: {error}", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn a_failure_names_component_command_status_and_output() {
        let error = super::run("shell", Command::new("sh").args(["-c", "echo wrong >&2; exit 3"]))
            .expect_err("status 3");
        let said = error.to_string();
        for part in ["shell: sh -c", "exit status: 3", "    wrong"] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let long = (0..100)
            .map(|line| line.to_string())
            .collect::<Vec<_>>()
            .join("\n");
        let shown = super::last_lines(&long);
        assert!(
            shown.starts_with("    70") && shown.ends_with("    99"),
            "{shown}"
        );
    }
}
