//! Slow callers.
