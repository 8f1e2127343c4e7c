//! The desktop side.
