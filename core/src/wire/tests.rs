//! Real bytes, round trips, and bytes from nowhere.
