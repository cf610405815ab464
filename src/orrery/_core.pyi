"""The compiled core, file by file as in ``rust/src``; only ``orrery.kernels`` imports it.

Every function releases the interpreter lock while it works. Errors are those of
``orrery.errors``.
"""

# --- aggregate.rs

# --- answer.rs

# --- batch.rs

# --- block.rs

# --- compaction.rs

# --- decompress.rs

# --- head.rs

# --- line_protocol.rs

# --- merge.rs

# --- meter.rs

# --- pages.rs

# --- record.rs

# --- remote_write.rs

# --- selector.rs

# --- series.rs

# --- series_table.rs

# --- snapshot.rs

# --- source.rs

# --- window.rs
