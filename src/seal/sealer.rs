//! In the next commit.
