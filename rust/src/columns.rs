//! Batches from columns handed over in-process: `orrery.open(...).write` and imports.

use crate::batch::{Batch, Key, Wire, assemble};
use crate::error::{CoreError, Result};
use crate::key_hash::KeyHasher;
use crate::sample::Kind;
use crate::series::SeriesView;
use crate::sides::Sides;
use std::borrow::Cow;

/// Values of one kind, one for each time.
pub enum Values<'a> {
    /// Bits, as in `sample::Run`.
    Plain(Kind, Vec<u64>),
    /// Strings or bytes.
    Payload(Kind, Vec<&'a [u8]>),
}

/// Builds a batch in which series `i`, given as canonical bytes, owns the samples
/// `offsets[i]..offsets[i + 1]`.
pub fn decode(
    series: &[&[u8]],
    offsets: &[i64],
    times_ns: Vec<i64>,
    values: Values,
    sides: Sides,
) -> Result<Batch> {
    check_offsets(series.len(), offsets, times_ns.len())?;
    let (kind, count, payload_bytes) = match &values {
        Values::Plain(kind, bits) => (*kind, bits.len(), 0),
        Values::Payload(kind, parts) => (*kind, parts.len(), parts.iter().map(|p| p.len()).sum()),
    };
    if count != times_ns.len() {
        return Err(CoreError::Invalid(format!(
            "cannot write columns: {} times but {count} values",
            times_ns.len()
        )));
    }
    if !sides.fit(count) {
        return Err(CoreError::Invalid(format!(
            "cannot write columns: start times, positions and elevations must be {count}, as the \
             values are"
        )));
    }
    let mut body =
        Vec::with_capacity(series.iter().map(|s| s.len()).sum::<usize>() + payload_bytes);
    for bytes in series {
        body.extend_from_slice(bytes);
    }
    let payload_start = body.len();
    if let Values::Payload(_, parts) = &values {
        for part in parts {
            body.extend_from_slice(part);
        }
    }
    let mut batch = Batch::over(body, Wire::Columns, canonicalise)?;
    batch.keys = keys(series, offsets);
    batch.kinds = vec![kind; count];
    batch.values = match values {
        Values::Plain(_, bits) => bits,
        Values::Payload(_, parts) => placed(&parts, payload_start),
    };
    batch.times_ns = times_ns;
    batch.sides = sides;
    Ok(batch)
}

fn check_offsets(series_count: usize, offsets: &[i64], sample_count: usize) -> Result<()> {
    let is_ascending = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    let covers = offsets.first() == Some(&0) && offsets.last() == Some(&(sample_count as i64));
    if offsets.len() != series_count + 1 || !is_ascending || !covers {
        return Err(CoreError::Invalid(format!(
            "cannot write columns: offsets of {series_count} series must be {} ascending numbers \
             from 0 to {sample_count}",
            series_count + 1
        )));
    }
    if u32::try_from(sample_count).is_err() || u32::try_from(series_count).is_err() {
        return Err(CoreError::Invalid(format!(
            "cannot write columns: {sample_count} samples in one batch are too many"
        )));
    }
    Ok(())
}

/// Series without samples have no key.
fn keys(series: &[&[u8]], offsets: &[i64]) -> Vec<Key> {
    let hasher = KeyHasher::of_process();
    let mut keys = Vec::with_capacity(series.len());
    let mut end = 0;
    for (number, bytes) in series.iter().enumerate() {
        let start = end;
        end += bytes.len();
        if offsets[number] == offsets[number + 1] {
            continue;
        }
        keys.push(Key {
            hash: hasher.hash(bytes),
            span: (start as u32, end as u32),
            field: (0, 0),
            line: number as u32 + 1,
            sample_end: offsets[number + 1] as u32,
        });
    }
    keys
}

/// Where each payload stands in the body.
fn placed(parts: &[&[u8]], start: usize) -> Vec<u64> {
    let mut at = start as u64;
    let place = |part: &&[u8]| {
        let bits = at << 32 | part.len() as u64;
        at += part.len() as u64;
        bits
    };
    parts.iter().map(place).collect()
}

fn canonicalise(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let line = batch.keys[key].line;
    let refused = |error: CoreError| {
        CoreError::Invalid(format!("cannot store series {line} of the batch: {error}"))
    };
    let view = SeriesView::parse(batch.bytes(batch.keys[key].span)).map_err(refused)?;
    let labels: Vec<_> = view
        .labels
        .iter()
        .map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value)))
        .collect();
    assemble(view.name, view.field, &labels, defaults, forced).map_err(refused)
}

#[cfg(feature = "python")]
// Arguments arrive owned from the interpreter.
#[allow(clippy::needless_pass_by_value)]
pub(crate) mod python {
    use super::{Kind, Sides, Values};
    use crate::batch::python::PyBatch;
    use crate::sides::SideColumn;
    use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn};
    use pyo3::exceptions::PyTypeError;
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyString};

    /// A column of fixed width as bits; none where `values` is no such array.
    fn plain(values: &Bound<'_, PyAny>) -> PyResult<Option<Values<'static>>> {
        if let Ok(array) = values.extract::<PyReadonlyArray1<f64>>() {
            let bits = array.as_slice()?.iter().map(|value| value.to_bits());
            return Ok(Some(Values::Plain(Kind::Float64, bits.collect())));
        }
        if let Ok(array) = values.extract::<PyReadonlyArray1<i64>>() {
            let bits = array.as_slice()?.iter().map(|value| *value as u64);
            return Ok(Some(Values::Plain(Kind::Int64, bits.collect())));
        }
        if let Ok(array) = values.extract::<PyReadonlyArray1<u64>>() {
            return Ok(Some(Values::Plain(
                Kind::Uint64,
                array.as_slice()?.to_vec(),
            )));
        }
        if let Ok(array) = values.extract::<PyReadonlyArray1<bool>>() {
            let bits = array.as_slice()?.iter().map(|value| u64::from(*value));
            return Ok(Some(Values::Plain(Kind::Bool, bits.collect())));
        }
        Ok(None)
    }

    /// A list of str or of bytes.
    fn payload<'a>(items: &'a [Bound<'_, PyAny>]) -> PyResult<Values<'a>> {
        let is_text = items
            .first()
            .is_some_and(PyAnyMethods::is_instance_of::<PyString>);
        let mut parts: Vec<&[u8]> = Vec::with_capacity(items.len());
        for item in items {
            if is_text {
                parts.push(item.cast::<PyString>()?.to_str()?.as_bytes());
            } else {
                parts.push(item.cast::<PyBytes>()?.as_bytes());
            }
        }
        let kind = if is_text { Kind::String } else { Kind::Bytes };
        Ok(Values::Payload(kind, parts))
    }

    #[pyfunction]
    #[pyo3(signature = (series, offsets, times_ns, values, *, start_times_ns = None,
        positions = None, elevations_mm = None))]
    #[allow(clippy::too_many_arguments)]
    fn decode_columns(
        py: Python<'_>,
        series: Vec<Bound<'_, PyBytes>>,
        offsets: PyReadonlyArray1<'_, i64>,
        times_ns: PyReadonlyArray1<'_, i64>,
        values: &Bound<'_, PyAny>,
        start_times_ns: Option<PyReadonlyArray1<'_, i64>>,
        positions: Option<PyReadonlyArray1<'_, u64>>,
        elevations_mm: Option<PyReadonlyArray1<'_, i64>>,
    ) -> PyResult<PyBatch> {
        let mut sides = Sides::default();
        if let Some(column) = start_times_ns {
            sides.set(SideColumn::StartTime, column.as_slice()?.to_vec());
        }
        if let Some(column) = positions {
            let bits = column.as_slice()?.iter().map(|&code| code as i64);
            sides.set(SideColumn::Position, bits.collect());
        }
        if let Some(column) = elevations_mm {
            sides.set(SideColumn::Elevation, column.as_slice()?.to_vec());
        }
        let series: Vec<&[u8]> = series.iter().map(PyBytesMethods::as_bytes).collect();
        let (offsets, times_ns) = (offsets.as_slice()?, times_ns.as_slice()?);
        let decode = |values| {
            py.detach(|| super::decode(&series, offsets, times_ns.to_vec(), values, sides))
        };
        if let Some(column) = plain(values)? {
            return Ok(PyBatch(decode(column)?));
        }
        if values.extract::<PyReadonlyArrayDyn<'_, f64>>().is_ok() {
            return Err(PyTypeError::new_err("values must have one dimension"));
        }
        let items: Vec<Bound<'_, PyAny>> = values.extract()?;
        Ok(PyBatch(decode(payload(&items)?)?))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decode_columns, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::payload;
    use crate::series::canonical;
    use proptest::prelude::*;

    #[test]
    fn series_own_their_stretches_and_empty_ones_have_no_key() {
        let series = [
            canonical("a", "", &mut vec![]).unwrap(),
            canonical("b", "", &mut vec![]).unwrap(),
            canonical("c", "f", &mut vec![("k", "v")]).unwrap(),
        ];
        let slices: Vec<&[u8]> = series.iter().map(Vec::as_slice).collect();
        let values = Values::Payload(Kind::String, vec![b"x", b"", b"zzz"]);
        let batch = decode(
            &slices,
            &[0, 1, 1, 3],
            vec![1, 2, 3],
            values,
            Sides::default(),
        )
        .unwrap();
        assert_eq!(batch.keys.len(), 2);
        assert_eq!(batch.sample_start(1), 1);
        assert_eq!(batch.keys[1].line, 3);
        assert_eq!(batch.canonical(1, &[], &[]).unwrap(), series[2]);
        assert_eq!(payload(&batch.body, batch.values[2]), Some(&b"zzz"[..]));
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        let series: [&[u8]; 1] = [b"x"];
        for (offsets, count) in [
            (&[0][..], 1),
            (&[0, 2], 1),
            (&[1, 1], 1),
            (&[0, -1], 0),
            (&[0, 1], 2),
        ] {
            let values = Values::Plain(Kind::Int64, vec![0; count]);
            assert!(
                decode(&series, offsets, vec![0], values, Sides::default()).is_err(),
                "{offsets:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_series_or_an_error(bytes: Vec<u8>) {
            let values = Values::Plain(Kind::Int64, vec![0]);
            let batch = decode(&[&bytes], &[0, 1], vec![0], values, Sides::default()).unwrap();
            let _ = batch.canonical(0, &[], &[]);
        }
    }
}
