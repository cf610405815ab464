//! The compiled core of Orrery: registration only; each idea has a file of its own.

pub mod aggregate;
pub mod answer;
pub mod batch;
pub mod bits;
pub mod block;
pub mod block_damage;
pub mod block_layout;
pub mod block_reader;
pub mod block_writer;
pub mod checksum;
pub mod columns;
pub mod compaction;
pub mod decimal;
pub mod decompress;
pub mod error;
pub mod form;
pub mod fused;
pub mod generation;
pub mod graphite;
pub mod gts_input;
pub mod gts_output;
pub mod gts_place;
pub mod gts_text;
pub mod head;
pub mod hiding;
pub mod histogram;
mod hot_rows;
pub mod index;
pub mod json;
pub mod kahan;
pub mod key_hash;
pub mod label_rows;
pub mod line_protocol;
pub mod live_index;
pub mod live_names;
pub mod live_order;
pub mod live_postings;
pub mod log_frames;
pub mod lost;
pub mod memory_source;
pub mod merge;
pub mod meter;
pub mod mmap;
pub mod number_table;
pub mod numeric;
pub mod opentsdb;
pub mod opentsdb_lines;
pub mod opentsdb_numbers;
pub mod otlp;
pub mod otlp_json;
pub mod otlp_names;
pub mod otlp_series;
pub mod otlp_values;
pub mod pages;
pub mod pages_coded;
pub mod pages_float;
pub mod pages_heap;
pub mod pages_integer;
pub mod pending;
pub mod pickle;
pub mod prefetch;
pub mod protobuf;
pub mod quantile;
pub mod range_functions;
pub mod raw_keys;
pub mod re2;
pub mod record;
pub mod record_attributes;
pub mod record_control;
pub mod record_samples;
pub mod record_sides;
pub mod relabel;
pub mod remote_histogram;
pub mod remote_write;
pub mod resolve;
pub mod retention;
pub mod rollup;
pub mod rollup_pages;
pub mod rollup_reading;
pub mod rollup_window;
pub mod rollup_writer;
pub mod row_keys;
pub mod sample;
pub mod section;
pub mod selector;
pub mod series;
pub mod series_store;
pub mod series_table;
pub mod sides;
pub mod snappy;
pub mod snapshot;
pub mod source;
pub mod stripe;
pub mod swar;
pub mod tenant_rows;
pub mod varint;
pub mod window;
pub mod workers;

#[cfg(feature = "python")]
mod python {
    use pyo3::prelude::*;

    /// Keeps the buffers of one request for the next, which the C library gives back to the system
    /// and so has cleared again, page by page (docs/decisions/0043-allocator.md).
    #[global_allocator]
    static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

    #[pymodule]
    fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::aggregate::python::register(module)?;
        crate::answer::python::register(module)?;
        crate::batch::python::register(module)?;
        crate::block::python::register(module)?;
        crate::checksum::python::register(module)?;
        crate::columns::python::register(module)?;
        crate::compaction::python::register(module)?;
        crate::decompress::python::register(module)?;
        crate::form::python::register(module)?;
        crate::fused::python::register(module)?;
        crate::graphite::python::register(module)?;
        crate::gts_input::python::register(module)?;
        crate::gts_output::python::register(module)?;
        crate::head::python::register(module)?;
        crate::histogram::python::register(module)?;
        crate::label_rows::python::register(module)?;
        crate::line_protocol::python::register(module)?;
        crate::log_frames::python::register(module)?;
        crate::lost::python::register(module)?;
        crate::memory_source::python::register(module)?;
        crate::meter::python::register(module)?;
        crate::opentsdb::python::register(module)?;
        crate::opentsdb_lines::python::register(module)?;
        crate::otlp::python::register(module)?;
        crate::pages::python::register(module)?;
        crate::record::python::register(module)?;
        crate::relabel::python::register(module)?;
        crate::remote_write::python::register(module)?;
        crate::rollup_writer::python::register(module)?;
        crate::selector::python::register(module)?;
        crate::series::python::register(module)?;
        crate::series_table::python::register(module)?;
        crate::sides::python::register(module)?;
        crate::snapshot::python::register(module)?;
        crate::source::python::register(module)?;
        crate::window::python::register(module)?;
        Ok(())
    }
}
