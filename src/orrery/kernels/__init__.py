"""Typed doors to the compiled core, one file per Rust file; the sole importer of orrery._core."""
