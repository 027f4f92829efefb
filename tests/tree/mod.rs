//! The work tree as tests see it: where it is, and which files people wrote (no build output, no version control).
//!
//! What does not belong: judgements; they stand in the tests that use this.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing a person wrote.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "__pycache__"];

/// One file of the tree: path relative to the root with `/`, and its content.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

impl File {
    /// The content as text; binary files (images, vectors) give `None`.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// The content of a source file, which must be text.
    pub(crate) fn source(&self) -> &str {
        self.text().unwrap_or_else(|| panic!("{} is not UTF-8", self.path))
    }
}

/// The root of the work tree, also for tests of a package below it.
pub(crate) fn root() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("Cargo.lock").is_file()).expect("the workspace has a lock file")
}

/// Every file below `folder` (relative to the root; "" for all) in sorted order.
pub(crate) fn files_below(folder: &str) -> Vec<File> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| File {
            bytes: fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            path: path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned(),
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let kind = entry.file_type().unwrap_or_else(|error| panic!("{}: {error}", entry.path().display()));
        if kind.is_dir() {
            if !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                collect(&entry.path(), paths);
            }
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
}
