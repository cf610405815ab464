//! A series' identity: canonical bytes, 128-bit id, shard, and the names `PromQL` knows it by.
//!
//! Canonical bytes (docs/formats/series.md): name, field, label count, then key and value of each
//! label in byte order of the keys; every string is UTF-8 with a varint length before it. An empty
//! field is no field; a label with an empty value is no label.

use crate::error::{CoreError, Result};
use crate::varint;

/// The first 128 bits of BLAKE3: a tenant must not be able to build two series with one id,
/// or forced labels could be slipped past.
pub type SeriesId = u128;

pub const SHARD_COUNT: u16 = 1024;

pub fn series_id(canonical: &[u8]) -> SeriesId {
    let hash = blake3::hash(canonical);
    let mut first = [0u8; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(first)
}

/// `hash(tenant, series id) mod 1024`, fixed for ever.
pub fn shard(tenant: &str, id: SeriesId) -> u16 {
    let mut bytes = Vec::with_capacity(16 + tenant.len());
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(tenant.as_bytes());
    let mut first = [0u8; 8];
    first.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..8]);
    (u64::from_le_bytes(first) % u64::from(SHARD_COUNT)) as u16
}

/// Builds canonical bytes. `labels` may come in any order; they are sorted here.
/// Refuses a repeated key, an empty key and an empty name.
pub fn canonical(name: &str, field: &str, labels: &mut Vec<(&str, &str)>) -> Result<Vec<u8>> {
    if name.is_empty() {
        return Err(CoreError::Invalid(
            "cannot name a series: the name is empty".into(),
        ));
    }
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort_unstable();
    for pair in labels.windows(2) {
        if pair[0].0 == pair[1].0 {
            return Err(CoreError::Invalid(format!(
                "cannot name a series: label {:?} is given twice",
                pair[0].0
            )));
        }
    }
    if labels.first().is_some_and(|(key, _)| key.is_empty()) {
        return Err(CoreError::Invalid(
            "cannot name a series: a label's name is empty".into(),
        ));
    }
    let size = labels
        .iter()
        .map(|(k, v)| k.len() + v.len() + 4)
        .sum::<usize>();
    let mut out = Vec::with_capacity(size + name.len() + field.len() + 8);
    varint::put_slice(&mut out, name.as_bytes());
    varint::put_slice(&mut out, field.as_bytes());
    varint::put(&mut out, labels.len() as u64);
    for (key, value) in labels.iter() {
        varint::put_slice(&mut out, key.as_bytes());
        varint::put_slice(&mut out, value.as_bytes());
    }
    Ok(out)
}

/// A parsed look at canonical bytes; borrows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesView<'a> {
    pub name: &'a str,
    /// Empty where the series has no field.
    pub field: &'a str,
    pub labels: Vec<(&'a str, &'a str)>,
}

impl<'a> SeriesView<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut at = 0;
        let name = text(bytes, &mut at)?;
        let field = text(bytes, &mut at)?;
        let count = varint::get(bytes, &mut at)? as usize;
        if count > bytes.len() {
            return Err(CoreError::Corrupt(
                "cannot read a series: more labels than bytes".into(),
            ));
        }
        let mut labels = Vec::with_capacity(count);
        for _ in 0..count {
            labels.push((text(bytes, &mut at)?, text(bytes, &mut at)?));
        }
        if at != bytes.len() {
            return Err(CoreError::Corrupt(
                "cannot read a series: bytes behind its end".into(),
            ));
        }
        Ok(Self {
            name,
            field,
            labels,
        })
    }

    pub fn label(&self, key: &str) -> &'a str {
        self.labels
            .binary_search_by(|(k, _)| (*k).cmp(key))
            .map_or("", |at| self.labels[at].1)
    }

    /// The name `PromQL` shows: `name`, or `name_field`.
    pub fn promql_name(&self) -> String {
        if self.field.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}_{}", self.name, self.field)
        }
    }
}

/// The legacy form of a `PromQL` name: each character outside `[a-zA-Z0-9_:]` (and a leading digit)
/// becomes `_`, as Prometheus' underscore escaping does.
pub fn legacy_name(name: &str) -> String {
    name.chars()
        .enumerate()
        .map(|(at, c)| {
            let valid =
                c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0);
            if valid { c } else { '_' }
        })
        .collect()
}

fn text<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a str> {
    std::str::from_utf8(varint::get_slice(bytes, at)?)
        .map_err(|_| CoreError::Corrupt("cannot read a series: text is not UTF-8".into()))
}

#[cfg(feature = "python")]
// Arguments arrive owned from the interpreter.
#[allow(clippy::needless_pass_by_value)]
pub(crate) mod python {
    use super::SeriesView;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    type Labels = Vec<(String, String)>;

    #[pyfunction]
    fn encode_series<'py>(
        py: Python<'py>,
        name: &str,
        field: &str,
        labels: Labels,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut pairs: Vec<(&str, &str)> = labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let bytes = super::canonical(name, field, &mut pairs)?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyfunction]
    fn parse_series(canonical: &[u8]) -> PyResult<(String, String, Labels)> {
        let view = SeriesView::parse(canonical)?;
        let labels = view.labels.iter();
        let owned = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Ok((view.name.to_owned(), view.field.to_owned(), owned.collect()))
    }

    #[pyfunction]
    fn series_id(canonical: &[u8]) -> u128 {
        super::series_id(canonical)
    }

    #[pyfunction]
    fn shard(tenant: &str, id: u128) -> u16 {
        super::shard(tenant, id)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(encode_series, module)?)?;
        module.add_function(wrap_pyfunction!(parse_series, module)?)?;
        module.add_function(wrap_pyfunction!(series_id, module)?)?;
        module.add_function(wrap_pyfunction!(shard, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_sorted_and_empty_ones_dropped() {
        let bytes = canonical("cpu", "", &mut vec![("z", "1"), ("a", "2"), ("m", "")]).unwrap();
        let view = SeriesView::parse(&bytes).unwrap();
        assert_eq!(view.labels, vec![("a", "2"), ("z", "1")]);
        assert_eq!(view.label("m"), "");
        assert_eq!(view.promql_name(), "cpu");
    }

    #[test]
    fn a_repeated_label_is_refused() {
        assert!(canonical("cpu", "", &mut vec![("a", "1"), ("a", "2")]).is_err());
    }

    #[test]
    fn legacy_names_are_as_prometheus_escapes() {
        assert_eq!(legacy_name("sys.cpu-user"), "sys_cpu_user");
        assert_eq!(legacy_name("9lives"), "_lives");
        assert_eq!(legacy_name("a:b_c9"), "a:b_c9");
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes: Vec<u8>) {
            let _ = SeriesView::parse(&bytes);
        }
    }
}
