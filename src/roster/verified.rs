//! The proof value: who holds a [`Verified<T>`] holds something this crate has checked. Review is a search for `new`.
//!
//! Invariant: the constructor is private to this crate and called in [`crate::set::RosterSet::verify`] alone.

use core::ops::Deref;

/// A value whose origin and rules this crate has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(crate) const fn new(checked: T) -> Self {
        Self(checked)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
