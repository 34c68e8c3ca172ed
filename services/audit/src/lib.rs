//! # What happened: an index over every event of every source, verification, export
