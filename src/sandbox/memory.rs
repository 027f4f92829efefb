//! Pages of their own for long-lived secrets: locked, out of core dumps, wiped on drop and in forked children.
//!
//! What does not belong: secrets that live for one call (a `Zeroizing` on the stack serves). Invariants: no `Debug`, no
//! `Clone`; the pages belong to this buffer alone, so that unlocking one secret never unlocks its neighbour.
//! Root of the machine still reads the memory of a running process (threat model).

use core::ptr::NonNull;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use std::num::NonZeroUsize;
use zeroize::Zeroize;

/// Deeper than any call of ours goes with a secret: sealing by HPKE needs some 60 KiB.
const STACK_WIPED: usize = 256 << 10;

/// Wipes the stack below the caller: what earlier calls left there, copies of secrets made by moves and by libraries
/// included. Call it after a call that handled secrets which this process is to forget; that call must not have been
/// inlined into the caller, whose own frame stays.
#[inline(never)]
pub fn wipe_stack() {
    let mut below = [0_u8; STACK_WIPED];
    below.zeroize();
    core::hint::black_box(&below);
}

/// Memory for the secret could not be had.
#[derive(Debug, thiserror::Error)]
#[error("no memory for a secret of {bytes} bytes: {source}; raise the memory limit of this role")]
pub struct MemoryError {
    bytes: usize,
    source: nix::Error,
}

/// `N` secret bytes in pages of their own.
///
/// Locking is best effort (`RLIMIT_MEMLOCK` bounds it, see [`Locked::is_locked`]); keeping the pages out of core dumps
/// and wiping them in forked children is not, and neither is wiping them on drop.
pub struct Locked<const N: usize> {
    at: NonNull<[u8; N]>,
    locked: bool,
}

// SAFETY: the pages are owned by this value alone, and plain bytes have no affinity to a thread.
unsafe impl<const N: usize> Send for Locked<N> {}
// SAFETY: a shared reference only reads.
unsafe impl<const N: usize> Sync for Locked<N> {}

impl<const N: usize> Locked<N> {
    const LENGTH: NonZeroUsize = NonZeroUsize::new(N).expect("a secret has at least one byte (checked when compiled)");

    /// A buffer of zeros, to be filled through [`Locked::as_mut`].
    ///
    /// # Errors
    /// When the kernel refuses the mapping or the advice (address space limit).
    pub fn zeroed() -> Result<Self, MemoryError> {
        let error = |source| MemoryError { bytes: N, source };
        // SAFETY: a fresh anonymous private mapping at an address of the kernel's choice touches nothing that exists.
        let page = unsafe {
            mmap_anonymous(None, Self::LENGTH, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)
        }
        .map_err(error)?;
        let mut buffer = Self { at: page.cast(), locked: false };
        // SAFETY: the range is the mapping above; neither advice touches other memory. WIPEONFORK zeroes the pages in a
        // child, which never needs them.
        unsafe {
            madvise(page, N, MmapAdvise::MADV_DONTDUMP).map_err(error)?;
            madvise(page, N, MmapAdvise::MADV_WIPEONFORK).map_err(error)?;
        }
        // SAFETY: as above; locking has no effect but residency.
        buffer.locked = unsafe { mlock(page, N) }.is_ok();
        Ok(buffer)
    }

    /// Moves a secret in and wipes where it came from.
    ///
    /// # Errors
    /// As [`Locked::zeroed`]; the source is wiped in that case too.
    pub fn take(source: &mut [u8; N]) -> Result<Self, MemoryError> {
        let buffer = Self::zeroed().map(|mut buffer| {
            buffer.as_mut().copy_from_slice(source);
            buffer
        });
        source.zeroize();
        buffer
    }

    /// The secret.
    pub fn as_bytes(&self) -> &[u8; N] {
        // SAFETY: the mapping is N bytes long, initialised by the kernel to zero, and lives as long as `self`.
        unsafe { self.at.as_ref() }
    }

    /// Whether the pages are locked into memory (else they may reach swap; run without swap or raise
    /// `RLIMIT_MEMLOCK`).
    pub fn is_locked(&self) -> bool {
        self.locked
    }
}

impl<const N: usize> AsMut<[u8; N]> for Locked<N> {
    fn as_mut(&mut self) -> &mut [u8; N] {
        // SAFETY: as in `as_bytes`, and `&mut self` excludes every other reference.
        unsafe { self.at.as_mut() }
    }
}

impl<const N: usize> Drop for Locked<N> {
    fn drop(&mut self) {
        self.as_mut().zeroize();
        // SAFETY: unmaps exactly the mapping of `zeroed`; no reference outlives `self`. Unmapping unlocks. A failure
        // leaks wiped pages and harms nothing.
        let _ = unsafe { munmap(self.at.cast(), N) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_secret_is_there_and_its_source_is_wiped() {
        let mut source = [7_u8; 32];
        let secret = Locked::take(&mut source).unwrap();
        assert_eq!(secret.as_bytes(), &[7; 32]);
        assert_eq!(source, [0; 32]);
    }

    #[test]
    fn pages_of_a_secret_are_locked_undumpable_and_wiped_in_children() {
        let secret = Locked::<48>::zeroed().unwrap();
        assert!(secret.is_locked(), "RLIMIT_MEMLOCK of the test machine is above one page");
        let address = format!("{:x}-", secret.at.as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mapping = maps.lines().skip_while(|line| !line.starts_with(&address));
        let flags = mapping.into_iter().find(|line| line.starts_with("VmFlags:")).unwrap();
        for flag in ["lo", "dd", "wf"] {
            assert!(flags.split_whitespace().any(|f| f == flag), "{flag} missing in {flags}");
        }
    }
}
