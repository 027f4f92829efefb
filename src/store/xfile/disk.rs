//! [`KeyDir`] on a real directory, by descriptor: no path is resolved again after start.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use peri_sandbox::durable::{Dir, DurableError};

use super::{KeyDir, KeyFile};

/// The directory that holds the key file and nothing else.
pub struct DiskKeys(Dir);

impl DiskKeys {
    /// Takes over an open directory.
    #[must_use]
    pub fn new(dir: Dir) -> Self {
        Self(dir)
    }
}

impl KeyDir for DiskKeys {
    type File = File;

    fn names(&self) -> io::Result<Vec<String>> {
        self.0.files().map_err(io_error)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.0.create_excl(name, 0o600).map_err(io_error)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.0.open_rw(name).map_err(io_error)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.0.unlink(name).map(drop).map_err(io_error)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync().map_err(io_error)
    }
}

fn io_error(error: DurableError) -> io::Error {
    let kind = error.errno().map_or(io::ErrorKind::Other, |errno| io::Error::from(errno).kind());
    io::Error::new(kind, error)
}

impl KeyFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
