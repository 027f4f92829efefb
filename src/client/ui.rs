//! The one module that prints: results to standard output, notes, progress and errors to standard error.
//!
//! With `--json` a command prints one JSON document; progress becomes JSON lines on standard error. Bars appear only
//! on a terminal. Text that came from the appliance or a file passes [`printable`] first, so that no name or error
//! text can drive the terminal with escape sequences.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place of this crate that talks to people")]

use crate::exit::Error;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};

/// What a command has to say when it is done.
#[derive(Debug, Clone)]
pub struct Report {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: serde_json::Value,
}

impl Report {
    /// Both forms.
    pub fn new(text: impl Into<String>, json: serde_json::Value) -> Self {
        Self { text: text.into(), json }
    }

    /// Nothing is printed: the output of the command went elsewhere already.
    #[must_use]
    pub fn silent() -> Self {
        Self { text: String::new(), json: serde_json::Value::Null }
    }
}

/// How to talk to whoever started the program.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    json: bool,
}

impl Ui {
    /// `json`: as asked for by `--json`.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a command's report.
    ///
    /// # Errors
    /// When standard output is gone or full.
    pub fn report(self, report: &Report) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        let written = if self.json && !report.json.is_null() {
            writeln!(out, "{}", report.json)
        } else if !self.json && !report.text.is_empty() {
            writeln!(out, "{}", printable(&report.text))
        } else {
            Ok(())
        };
        written.and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// Prints an error; the exit code is the caller's business.
    pub fn error(self, error: &Error) {
        if self.json {
            let document = serde_json::json!({
                "error": { "code": error.code(), "exit": error.exit_code(), "message": error.to_string() }
            });
            eprintln!("{document}");
        } else {
            eprintln!("peri: {}", printable(&error.to_string()));
        }
    }

    /// A remark beside the result.
    pub fn note(self, text: &str) {
        if self.json {
            eprintln!("{}", serde_json::json!({ "note": text }));
        } else {
            eprintln!("{}", printable(text));
        }
    }

    /// Progress over `total` units of work (milliseconds of picture time, bytes).
    #[must_use]
    pub fn progress(self, what: &'static str, total: u64) -> Progress {
        let bar = (!self.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("{msg:12} [{bar:40}] {percent:>3} %  {prefix}  {eta_precise} left")
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("=> ");
            bar.set_style(style);
            bar.set_message(what);
            bar
        });
        Progress { bar, json: self.json, what, total, last_percent: None }
    }
}

/// A running bar, JSON lines, or silence.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    json: bool,
    what: &'static str,
    total: u64,
    last_percent: Option<u64>,
}

impl Progress {
    /// `done` of the total is done; `bytes` sealed bytes have been fetched so far.
    pub fn set(&mut self, done: u64, bytes: u64) {
        let done = done.min(self.total);
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{:.1} MB", bytes as f64 / 1e6));
            bar.set_position(done);
        } else if self.json {
            let percent = (done * 100).checked_div(self.total).unwrap_or(100);
            if self.last_percent != Some(percent) {
                self.last_percent = Some(percent);
                eprintln!("{}", serde_json::json!({ "progress": self.what, "percent": percent, "bytes": bytes }));
            }
        }
    }

    /// Takes the bar off the screen.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The text without control characters other than line feed and tab.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}c\n"), "a\u{fffd}[2Jb\u{fffd}c\n");
    }
}
