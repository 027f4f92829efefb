//! Where passwords come from: the terminal without echo, a file, or standard input when that is no terminal.
//!
//! Never from an argument or the environment: both are readable by other processes and land in histories. Every buffer
//! that held a password is wiped.

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Shortest password of a new key, in characters (NIST SP 800-63B §5.1.1: at least 8; the device secret adds 128 bits
/// that a thief of the file alone lacks).
pub const PASSWORD_MIN: usize = 8;

/// Longest password in bytes: a pass phrase of 20 words fits many times; a wrong file (a disk image) does not.
const PASSWORD_MAX: usize = 1024;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file named by `--password-file` cannot be read.
    #[error("cannot read the password file {path:?}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Terminal or standard input failed or ended.
    #[error("cannot read the password for {what}: {source}; give --password-file FILE or run on a terminal")]
    Input {
        /// Which password.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nothing in it.
    #[error("the password for {what} is empty")]
    Empty {
        /// Which password.
        what: String,
    },
    /// More than a password can be.
    #[error("the password for {what} is longer than {PASSWORD_MAX} bytes; is it the right file?")]
    TooLong {
        /// Which password.
        what: String,
    },
    /// Below [`PASSWORD_MIN`].
    #[error("the new password for {what} is shorter than {PASSWORD_MIN} characters; take a sentence")]
    TooShort {
        /// Which password.
        what: String,
    },
    /// Typed differently the second time.
    #[error("the two passwords for {what} differ; nothing was changed, try again")]
    Differ {
        /// Which password.
        what: String,
    },
}

impl PasswordError {
    /// See [`crate::exit::EXIT_CODES`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } => 1,
            Self::TooShort { .. } | Self::Differ { .. } | Self::TooLong { .. } => 2,
            Self::Input { .. } | Self::Empty { .. } => 6,
        }
    }
}

/// A password in memory that is wiped.
pub type Password = Zeroizing<String>;

/// The sources of one run of the program.
pub struct Passwords {
    /// (key name or all keys, file).
    files: Vec<(Option<String>, PathBuf)>,
    input: Source,
}

/// What stands behind a question without a file. A trait object would need a second user; tests use `Lines`.
enum Source {
    Terminal,
    Lines(Box<dyn BufRead>),
}

impl Passwords {
    /// `files` as given by `--password-file`, each `FILE` or `NAME=FILE`.
    #[must_use]
    pub fn new(files: &[String]) -> Self {
        let input = if std::io::stdin().is_terminal() {
            Source::Terminal
        } else {
            Source::Lines(Box::new(BufReader::new(std::io::stdin())))
        };
        Self::with_input(files, input)
    }

    /// Lines from a reader instead of the terminal.
    #[must_use]
    pub fn from_lines(files: &[String], lines: Box<dyn BufRead>) -> Self {
        Self::with_input(files, Source::Lines(lines))
    }

    fn with_input(files: &[String], input: Source) -> Self {
        let files = files
            .iter()
            .map(|text| match text.split_once('=') {
                Some((name, path)) if !name.contains('/') => (Some(name.to_owned()), PathBuf::from(path)),
                _ => (None, PathBuf::from(text)),
            })
            .collect();
        Self { files, input }
    }

    /// The password of an existing key.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn existing(&mut self, key: &str) -> Result<Password, PasswordError> {
        let what = format!("key {key:?}");
        match self.file_for(key) {
            Some(path) => read_file(&path, &what),
            None => self.ask(&what, &format!("Password for key {key}: ")),
        }
    }

    /// The password of a key about to be made: long enough and, on a terminal, typed twice.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn fresh(&mut self, key: &str) -> Result<Password, PasswordError> {
        let file = self.file_for(key);
        self.fresh_from(key, file.as_deref())
    }

    /// As [`Passwords::fresh`], from a file of its own (a key whose old password comes from `--password-file`).
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn fresh_from(&mut self, key: &str, file: Option<&Path>) -> Result<Password, PasswordError> {
        let what = format!("key {key:?}");
        let password = match file {
            Some(path) => read_file(path, &what)?,
            None => {
                let first = self.ask(&what, &format!("New password for key {key}: "))?;
                if matches!(self.input, Source::Terminal) && *self.ask(&what, "Once more: ")? != *first {
                    return Err(PasswordError::Differ { what });
                }
                first
            }
        };
        if password.chars().count() < PASSWORD_MIN {
            return Err(PasswordError::TooShort { what });
        }
        Ok(password)
    }

    /// Another secret that people type (recovery code, camera password).
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn secret(&mut self, what: &str, file: Option<&Path>) -> Result<Password, PasswordError> {
        match file {
            Some(path) => read_file(path, what),
            None => self.ask(what, &format!("{what}: ")),
        }
    }

    fn file_for(&self, key: &str) -> Option<PathBuf> {
        let named = self.files.iter().find(|(name, _)| name.as_deref() == Some(key));
        named.or_else(|| self.files.iter().find(|(name, _)| name.is_none())).map(|(_, path)| path.clone())
    }

    fn ask(&mut self, what: &str, prompt: &str) -> Result<Password, PasswordError> {
        let input = |source| PasswordError::Input { what: what.to_owned(), source };
        let bytes = match &mut self.input {
            Source::Terminal => ask_terminal(prompt).map_err(input)?,
            Source::Lines(lines) => read_line(lines).map_err(input)?,
        };
        checked(bytes, what)
    }
}

fn read_file(path: &Path, what: &str) -> Result<Password, PasswordError> {
    let failed = |source| PasswordError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_MAX + 3));
    file.take(PASSWORD_MAX as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    checked(bytes, what)
}

fn checked(bytes: Zeroizing<Vec<u8>>, what: &str) -> Result<Password, PasswordError> {
    if bytes.is_empty() {
        return Err(PasswordError::Empty { what: what.to_owned() });
    }
    if bytes.len() > PASSWORD_MAX {
        return Err(PasswordError::TooLong { what: what.to_owned() });
    }
    let text = core::str::from_utf8(&bytes).map_err(|_| PasswordError::Input {
        what: what.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text"),
    })?;
    // NFC, so that two keyboards that compose "ä" differently give one password (as the browser's client does). Three
    // times the length bounds what NFC can make of UTF-8 (UAX #15 §9.1), so the buffer never grows and leaves copies.
    let mut password = Zeroizing::new(String::with_capacity(3 * text.len()));
    password.extend(text.nfc());
    Ok(password)
}

/// One line, byte by byte so that no buffer grows (and so copies) with secret bytes in it.
fn read_line(lines: &mut dyn BufRead) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(PASSWORD_MAX + 2));
    let mut byte = [0];
    loop {
        if lines.read(&mut byte)? == 0 {
            if line.is_empty() {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "standard input has ended"));
            }
            break;
        }
        if byte[0] == b'\n' || line.len() > PASSWORD_MAX {
            break;
        }
        line.push(byte[0]);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// Asks on the controlling terminal with echo off; the old state comes back whatever happens.
fn ask_terminal(prompt: &str) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    silent.local_flags.insert(LocalFlags::ECHONL);
    terminal.write_all(prompt.as_bytes())?;
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
    let line = read_line(&mut BufReader::with_capacity(1, &terminal));
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &before)?;
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn lines(text: &'static str, files: &[String]) -> Passwords {
        Passwords::from_lines(files, Box::new(Cursor::new(text)))
    }

    #[test]
    fn one_line_of_standard_input_per_key() {
        let mut passwords = lines("correct horse\r\nbattery staple", &[]);
        assert_eq!(*passwords.existing("a").unwrap(), "correct horse");
        assert_eq!(*passwords.existing("b").unwrap(), "battery staple");
        assert!(matches!(passwords.existing("c"), Err(PasswordError::Input { .. })));
    }

    #[test]
    fn a_named_file_wins_over_the_common_one() {
        let dir = tempfile::tempdir().unwrap();
        let (common, own) = (dir.path().join("common"), dir.path().join("own"));
        std::fs::write(&common, "for everybody\n").unwrap();
        std::fs::write(&own, "for seat one\n").unwrap();
        let files = [common.display().to_string(), format!("seat-1={}", own.display())];
        let mut passwords = lines("", &files);
        assert_eq!(*passwords.existing("seat-1").unwrap(), "for seat one");
        assert_eq!(*passwords.existing("seat-2").unwrap(), "for everybody");
    }

    #[test]
    fn a_new_password_must_be_long_enough() {
        assert!(matches!(lines("short\n", &[]).fresh("a"), Err(PasswordError::TooShort { .. })));
        assert!(lines("long enough\n", &[]).fresh("a").is_ok());
        assert!(matches!(lines("\n", &[]).existing("a"), Err(PasswordError::Empty { .. })));
    }

    #[test]
    fn composed_and_decomposed_letters_are_one_password() {
        let composed = lines("T\u{fc}r auf, Licht an\n", &[]).existing("a").unwrap();
        let decomposed = lines("Tu\u{308}r auf, Licht an\n", &[]).existing("a").unwrap();
        assert_eq!(*composed, *decomposed);
    }

    #[test]
    fn a_whole_disk_image_is_not_a_password() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::write(&path, vec![b'a'; 1 << 20]).unwrap();
        let mut passwords = lines("", &[path.display().to_string()]);
        assert!(matches!(passwords.existing("a"), Err(PasswordError::TooLong { .. })));
    }
}
