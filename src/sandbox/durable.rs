//! Files that are there after a power cut, opened relative to a directory descriptor.
//!
//! What does not belong: formats, paths of the product. Invariants:
//! - a name is one path component, so nothing escapes the directory; symbolic links are not followed;
//! - `Ok` of a call that promises durability means that fsync of file and directory returned without error;
//! - a failed fsync is final: the kernel may have dropped the dirty pages, so a retry that succeeds would lie. The
//!   caller gives the file up (or ends).

use nix::dir::{Dir as Listing, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fchown, fdatasync, fsync, unlinkat};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// A name with `/`, NUL, more than 255 bytes, or `.`, `..` or nothing.
    #[error("{name:?} is no file name: one path component of at most 255 bytes is needed")]
    Name {
        /// The refused name.
        name: String,
    },
    /// The kernel refused.
    #[error("{call} {dir}/{name}: {source}{}", remedy(*source))]
    System {
        /// What was tried.
        call: &'static str,
        /// The directory, as it was opened.
        dir: String,
        /// The file in it.
        name: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// The file is longer than its reader accepts.
    #[error("{dir}/{name} is longer than {max} bytes; it is none of ours or damaged")]
    TooLong {
        /// The directory, as it was opened.
        dir: String,
        /// The file in it.
        name: String,
        /// Bytes accepted.
        max: usize,
    },
}

impl DurableError {
    /// The kernel's answer, where there was one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::System { source, .. } => Some(*source),
            Self::Name { .. } | Self::TooLong { .. } => None,
        }
    }

    /// Whether the file is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.errno() == Some(Errno::ENOENT)
    }

    /// Whether the disk (or quota) is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENOSPC | Errno::EDQUOT))
    }
}

const fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC | Errno::EDQUOT => "; the disk is full: free space or shorten the retention",
        Errno::EACCES | Errno::EPERM => "; check owner and mode, and that this role's Landlock rules name it",
        Errno::EROFS => "; the file system is read-only: it may have met an error, see the kernel's log",
        Errno::EIO => "; the disk fails: replace it",
        Errno::EMFILE | Errno::ENFILE => "; raise the descriptor limit of this role",
        _ => "",
    }
}

/// An open directory. Everything in it is reached through the descriptor, whatever happens to its path.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    label: String,
}

impl Dir {
    /// Opens a directory by path (at start, from configuration; the last component must not be a symbolic link).
    ///
    /// # Errors
    /// When it is missing, no directory, or not ours to open.
    pub fn open(path: &Path) -> Result<Self, DurableError> {
        let label = path.display().to_string();
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        match open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, label }),
            Err(source) => Err(DurableError::System { call: "open", dir: label, name: String::new(), source }),
        }
    }

    /// Takes over a descriptor (inherited or received). `label` names it in errors.
    ///
    /// # Errors
    /// When it is no directory.
    pub fn from_fd(fd: OwnedFd, label: &str) -> Result<Self, DurableError> {
        let dir = Self { fd, label: label.to_owned() };
        let status = fstat(&dir.fd).map_err(|e| dir.failed("fstat", "", e))?;
        if status.st_mode & libc::S_IFMT != libc::S_IFDIR {
            return Err(dir.failed("open", "", Errno::ENOTDIR));
        }
        Ok(dir)
    }

    /// Opens a directory in this one.
    ///
    /// # Errors
    /// When it is missing or no directory.
    pub fn open_dir(&self, name: &str) -> Result<Self, DurableError> {
        let fd = self.open_at(name, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0)?;
        Ok(Self { fd, label: format!("{}/{name}", self.label) })
    }

    /// Opens a directory in this one and makes it, durably, when it is missing. The mode (after the umask) matters only
    /// when it is made.
    ///
    /// # Errors
    /// When something else has that name, or the disk is full.
    pub fn ensure_dir(&self, name: &str, mode: u32) -> Result<Self, DurableError> {
        check(name)?;
        match mkdirat(&self.fd, name, mode_of(mode)) {
            Ok(()) => self.sync()?,
            Err(Errno::EEXIST) => {}
            Err(source) => return Err(self.failed("mkdir", name, source)),
        }
        self.open_dir(name)
    }

    /// Opens a file to read.
    ///
    /// # Errors
    /// When it is missing or not ours to read.
    pub fn open_read(&self, name: &str) -> Result<File, DurableError> {
        self.open_at(name, OFlag::O_RDONLY, 0).map(File::from)
    }

    /// Opens an existing file to read and write.
    ///
    /// # Errors
    /// When it is missing or not ours to write.
    pub fn open_rw(&self, name: &str) -> Result<File, DurableError> {
        self.open_at(name, OFlag::O_RDWR, 0).map(File::from)
    }

    /// Opens a file to read and to append, and makes it when it is missing. Whoever makes it calls [`Dir::sync`] before
    /// relying on its name.
    ///
    /// # Errors
    /// When the disk is full or it is not ours to write.
    pub fn open_append(&self, name: &str, mode: u32) -> Result<File, DurableError> {
        self.open_at(name, OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT, mode).map(File::from)
    }

    /// Makes a file that must not exist, to read and write. Its name is durable only after [`Dir::sync`].
    ///
    /// # Errors
    /// `EEXIST` when it is there; full disk.
    pub fn create_excl(&self, name: &str, mode: u32) -> Result<File, DurableError> {
        self.open_at(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL, mode).map(File::from)
    }

    /// Reads a whole file of at most `max` bytes.
    ///
    /// # Errors
    /// When it is missing, unreadable or longer.
    pub fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, DurableError> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        let read = self.open_read(name)?.take(limit).read_to_end(&mut bytes);
        read.map_err(|e| self.failed("read", name, errno_of(&e)))?;
        if bytes.len() > max {
            return Err(DurableError::TooLong { dir: self.label.clone(), name: name.to_owned(), max });
        }
        Ok(bytes)
    }

    /// Names of everything in the directory, sorted. Names that are not UTF-8 are none of ours and left out.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, DurableError> {
        self.list().map(|entries| entries.into_iter().map(|(name, _)| name).collect())
    }

    /// Names of the regular files in the directory, sorted.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn files(&self) -> Result<Vec<String>, DurableError> {
        let entries = self.list()?;
        Ok(entries.into_iter().filter(|(_, kind)| *kind == Some(Type::File)).map(|(name, _)| name).collect())
    }

    /// Whether something has that name.
    ///
    /// # Errors
    /// When the kernel cannot tell.
    pub fn has(&self, name: &str) -> Result<bool, DurableError> {
        check(name)?;
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(source) => Err(self.failed("stat", name, source)),
        }
    }

    /// Removes a file and makes that durable. A file that is not there is no error.
    ///
    /// # Errors
    /// When it is not ours to remove, or the sync fails.
    pub fn remove(&self, name: &str) -> Result<(), DurableError> {
        if self.unlink(name)? { self.sync() } else { Ok(()) }
    }

    /// Removes a file; durable only after [`Dir::sync`] (one sync for many). Whether it was there.
    ///
    /// # Errors
    /// When it is not ours to remove.
    pub fn unlink(&self, name: &str) -> Result<bool, DurableError> {
        check(name)?;
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(source) => Err(self.failed("unlink", name, source)),
        }
    }

    /// Renames inside the directory, replacing what had the name, and makes that durable.
    ///
    /// # Errors
    /// When `from` is missing, or the sync fails.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), DurableError> {
        check(from)?;
        check(to)?;
        renameat(&self.fd, from, &self.fd, to).map_err(|e| self.failed("rename", from, e))?;
        self.sync()
    }

    /// Makes names and removals durable.
    ///
    /// # Errors
    /// When the disk fails; final (see the module's invariants).
    pub fn sync(&self) -> Result<(), DurableError> {
        fsync(&self.fd).map_err(|e| self.failed("fsync of directory", "", e))
    }

    /// Bytes that an unprivileged writer can still use on this file system.
    ///
    /// # Errors
    /// When the file system cannot tell.
    pub fn free_bytes(&self) -> Result<u64, DurableError> {
        let status = nix::sys::statvfs::fstatvfs(&self.fd).map_err(|e| self.failed("statvfs", "", e))?;
        Ok(status.blocks_available().saturating_mul(status.fragment_size()))
    }

    /// Number of the file system's device: two directories on one disk partition have the same.
    ///
    /// # Errors
    /// Never on a live descriptor.
    pub fn device(&self) -> Result<u64, DurableError> {
        fstat(&self.fd).map(|status| status.st_dev).map_err(|e| self.failed("fstat", "", e))
    }

    /// Owner, group and mode bits.
    ///
    /// # Errors
    /// Never on a live descriptor.
    pub fn owner(&self) -> Result<(u32, u32, u32), DurableError> {
        let status = fstat(&self.fd).map_err(|e| self.failed("fstat", "", e))?;
        Ok((status.st_uid, status.st_gid, status.st_mode & 0o7777))
    }

    /// Gives the directory another owner (root only, at set-up).
    ///
    /// # Errors
    /// When not privileged.
    pub fn give_to(&self, uid: u32, gid: u32) -> Result<(), DurableError> {
        fchown(&self.fd, Some(uid.into()), Some(gid.into())).map_err(|e| self.failed("chown", "", e))
    }

    /// How errors name this directory.
    pub fn label(&self) -> &str {
        &self.label
    }

    fn list(&self) -> Result<Vec<(String, Option<Type>)>, DurableError> {
        // A descriptor of its own: the position of a directory stream is shared between duplicates.
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut listing =
            Listing::openat(&self.fd, ".", flags, Mode::empty()).map_err(|source| self.failed("open", ".", source))?;
        let mut entries = Vec::new();
        for entry in listing.iter() {
            let entry = entry.map_err(|source| self.failed("getdents", "", source))?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => entries.push((name.to_owned(), entry.file_type())),
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn open_at(&self, name: &str, flags: OFlag, mode: u32) -> Result<OwnedFd, DurableError> {
        check(name)?;
        openat(&self.fd, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, mode_of(mode))
            .map_err(|source| self.failed("open", name, source))
    }

    fn failed(&self, call: &'static str, name: &str, source: Errno) -> DurableError {
        DurableError::System { call, dir: self.label.clone(), name: name.to_owned(), source }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Replaces a file as a whole: after a power cut there is the old content or the new, never a mixture, and after `Ok`
/// the new. `<name>.tmp` is used on the way; a left-over one is removed first.
///
/// # Errors
/// When the disk is full or fails; the old content is still there then (or the new one, if only the last sync of the
/// directory failed).
pub fn write_atomic(dir: &Dir, name: &str, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    check(name)?;
    let temporary = format!("{name}.tmp");
    dir.unlink(&temporary)?;
    let mut file = dir.create_excl(&temporary, mode)?;
    let written = file
        .write_all(bytes)
        .map_err(|e| dir.failed("write", &temporary, errno_of(&e)))
        .and_then(|()| fsync(&file).map_err(|e| dir.failed("fsync", &temporary, e)))
        .and_then(|()| dir.rename(&temporary, name));
    if written.is_err() {
        // Best effort: the next write removes it too, and the error that matters is the first one.
        let _ = dir.unlink(&temporary);
    }
    written
}

/// Appends to a file opened with [`Dir::open_append`] and makes the bytes durable.
///
/// # Errors
/// When the disk is full or fails. A part may have been written: readers must tell a torn tail by themselves.
pub fn append_sync(mut file: &File, bytes: &[u8]) -> Result<(), Errno> {
    file.write_all(bytes).map_err(|e| errno_of(&e))?;
    fdatasync(file)
}

/// Makes data (and the length) of a file durable.
///
/// # Errors
/// When the disk fails; final.
pub fn sync_data(file: impl AsFd) -> Result<(), Errno> {
    fdatasync(file)
}

/// Reads exactly `buffer.len()` bytes at an offset; `false` when the file ends before.
///
/// # Errors
/// When the disk fails.
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<bool, Errno> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(errno_of(&e)),
    }
}

/// Writes all bytes at an offset (not durable by itself).
///
/// # Errors
/// When the disk is full or fails. A part may have been written.
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    file.write_all_at(bytes, offset).map_err(|e| errno_of(&e))
}

fn check(name: &str) -> Result<(), DurableError> {
    let good = !name.is_empty() && name.len() <= 255 && !name.contains(['/', '\0']) && name != "." && name != "..";
    if good { Ok(()) } else { Err(DurableError::Name { name: name.chars().take(300).collect() }) }
}

fn mode_of(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode)
}

/// The standard library's own errors (write of zero bytes) carry no number: the device did not take the bytes.
fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        (root, dir)
    }

    #[test]
    fn write_atomic_replaces_and_leaves_no_temporary_file() {
        let (_root, dir) = scratch();
        std::fs::write(format!("{}/x.tmp", dir.label()), b"left over").unwrap();
        write_atomic(&dir, "x", b"one", 0o600).unwrap();
        write_atomic(&dir, "x", b"two", 0o600).unwrap();
        assert_eq!(dir.read("x", 3).unwrap(), b"two");
        assert_eq!(dir.names().unwrap(), ["x"]);
        assert!(matches!(dir.read("x", 2), Err(DurableError::TooLong { max: 2, .. })));
    }

    #[test]
    fn names_that_leave_the_directory_and_symbolic_links_are_refused() {
        let (root, dir) = scratch();
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", &"x".repeat(256)] {
            assert!(matches!(dir.open_read(name), Err(DurableError::Name { .. })), "{name:?}");
            assert!(matches!(write_atomic(&dir, name, b"", 0o600), Err(DurableError::Name { .. })), "{name:?}");
        }
        std::os::unix::fs::symlink("/etc/hostname", root.path().join("link")).unwrap();
        assert_eq!(dir.open_read("link").unwrap_err().errno(), Some(Errno::ELOOP));
        std::os::unix::fs::symlink("/etc", root.path().join("dir")).unwrap();
        assert!(dir.open_dir("dir").is_err());
        write_atomic(&dir, "link", b"replaced, not followed", 0o600).unwrap();
        assert_eq!(dir.files().unwrap(), ["link"]);
    }

    #[test]
    fn exclusive_creation_appending_and_reading_at_offsets() {
        let (_root, dir) = scratch();
        let file = dir.create_excl("seg", 0o600).unwrap();
        assert_eq!(dir.create_excl("seg", 0o600).unwrap_err().errno(), Some(Errno::EEXIST));
        write_all_at(&file, b"abcdef", 0).unwrap();
        sync_data(&file).unwrap();
        let log = dir.open_append("seg", 0o600).unwrap();
        append_sync(&log, b"ghi").unwrap();
        let mut buffer = [0; 4];
        assert!(read_exact_at(&log, &mut buffer, 5).unwrap());
        assert_eq!(&buffer, b"fghi");
        assert!(!read_exact_at(&log, &mut buffer, 6).unwrap());
        dir.remove("seg").unwrap();
        dir.remove("seg").unwrap();
        assert!(!dir.has("seg").unwrap());
        assert!(dir.open_read("seg").unwrap_err().is_missing());
    }

    #[test]
    fn sub_directories_share_the_device_and_report_free_space() {
        let (_root, dir) = scratch();
        let sub = dir.ensure_dir("sub", 0o700).unwrap();
        assert_eq!(dir.ensure_dir("sub", 0o700).unwrap().device().unwrap(), sub.device().unwrap());
        assert_eq!(sub.owner().unwrap().2, 0o700);
        assert!(sub.free_bytes().unwrap() > 0);
        dir.create_excl("plain", 0o600).unwrap();
        assert!(dir.ensure_dir("plain", 0o700).is_err());
        let fd = OwnedFd::from(dir.open_read("plain").unwrap());
        assert_eq!(Dir::from_fd(fd, "plain").unwrap_err().errno(), Some(Errno::ENOTDIR));
    }
}
