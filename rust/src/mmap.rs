//! A file mapped for reading; the one place of the core that needs `unsafe`.
//!
//! Mapping is unsafe because somebody may change the file underneath the slice. Blocks are
//! immutable: they are written under a temporary name, synced, linked into place and only ever
//! unlinked, which leaves a mapping whole. One process owns a data directory. Bytes that change all
//! the same (a failing disk) are caught by the checksums that every reader verifies; a file cut
//! short by force is beyond that and ends the process with SIGBUS, as with every mapped file.

use crate::error::{CoreError, Result};
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// Maps the whole of `path`; an empty file is `Corrupt`, as nothing of ours is empty.
pub fn map_file(path: &Path) -> Result<Mmap> {
    let unreachable = |error: std::io::Error| {
        CoreError::Unavailable(format!("cannot open block {:?}: {error}", path.display()))
    };
    let file = File::open(path).map_err(unreachable)?;
    if file.metadata().map_err(unreachable)?.len() == 0 {
        return Err(CoreError::Corrupt(format!(
            "cannot open block {:?}: the file is empty",
            path.display()
        )));
    }
    // SAFETY: the file is immutable once it has its name; see the module's description.
    unsafe { Mmap::map(&file) }.map_err(unreachable)
}
