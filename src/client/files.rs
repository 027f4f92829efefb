//! Files that the user names: read with a bound, written as a whole or not at all.
//!
//! What does not belong: the home directory ([`crate::vault`]).

use crate::exit::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// [`Error::File`].
pub fn read(path: &Path, max: usize) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File { what: "cannot read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max {
        return Err(failed(std::io::Error::other(format!("it is longer than {max} bytes"))));
    }
    Ok(bytes)
}

/// Writes a file as a whole (temporary name, sync, rename).
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let mut draft = Draft::create(path, mode)?;
    draft.file().write_all(bytes).map_err(|source| draft.failed(source))?;
    draft.commit()
}

/// A file under a temporary name beside its final one; dropped without [`Draft::commit`] it vanishes.
pub struct Draft {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Draft {
    /// Opens the temporary file, new and empty.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(path: &Path, mode: u32) -> Result<Self, Error> {
        let failed = |source| Error::File { what: "cannot write", path: path.to_owned(), source };
        let name = path.file_name().ok_or_else(|| failed(std::io::ErrorKind::IsADirectory.into()))?;
        if path.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let suffix = u32::from_be_bytes(crate::conn::random::<4>());
        let temporary = path.with_file_name(format!(".{}.{suffix:08x}.part", name.to_string_lossy()));
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed)?;
        Ok(Self { file, temporary, path: path.to_owned(), done: false })
    }

    /// Where to write.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// A handle of its own on the same file, for writers that keep it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn writer(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(|source| self.failed(source))
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::File`]; the final name is untouched then.
    pub fn commit(mut self) -> Result<(), Error> {
        let parent = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .and_then(|()| File::open(parent)?.sync_all())
            .map_err(|source| self.failed(source))?;
        self.done = true;
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::File { what: "cannot write", path: self.path.clone(), source }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.done {
            // Nothing better can be done about a temporary file that does not go away.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_draft_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mp4");
        write(&path, b"old", 0o644).unwrap();
        let mut draft = Draft::create(&path, 0o600).unwrap();
        draft.file().write_all(b"half").unwrap();
        drop(draft);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        write(&path, b"new", 0o644).unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"new");
        assert!(read(&path, 2).is_err());
        assert!(Draft::create(dir.path(), 0o600).is_err(), "a directory is no file");
    }
}
