//! What Warp 10 shows of series: the lines of `/find`, and the samples of `/fetch` in its text, tab
//! separated and JSON formats, newest first.
//!
//! `protocols/warp10` selects series into a list, and has samples written a chunk of bytes at a
//! time. Of a series so much is read at once as its pages say is a window's worth, so that neither
//! a long one nor many of them stand in memory.

use crate::answer::push_text;
use crate::error::{CoreError, Result};
use crate::gts_place::coordinates;
use crate::gts_text::{push_base64, push_percent_encoded};
use crate::meter::Meter;
use crate::sample::{Kind, Run};
use crate::selector::Matcher;
use crate::series::{SeriesView, series_id};
use crate::sides::{NO_SIDE, Side, SideColumn};
use crate::snapshot::Selection;
use crate::source::{Extent, TimeRange};
use hashbrown::{HashMap, HashSet};
use std::borrow::Cow;
use std::sync::Arc;

/// A chunk is handed out once it is as long.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Samples of a window, about: a window ends where a page does.
const WINDOW_SAMPLES: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    FullText,
    Json,
    Tsv,
    FullTsv,
}

impl Format {
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "text" => Self::Text,
            "fulltext" => Self::FullText,
            "json" => Self::Json,
            "tsv" => Self::Tsv,
            "fulltsv" => Self::FullTsv,
            _ => {
                return Err(CoreError::Invalid(format!(
                    "cannot show series: format {name:?} is none of text, fulltext, json, tsv, \
                     fulltsv"
                )));
            }
        })
    }
}

/// What Warp 10 calls a series: its name, and its field behind a point.
fn class<'a>(series: &SeriesView<'a>) -> Cow<'a, str> {
    if series.field.is_empty() {
        Cow::Borrowed(series.name)
    } else {
        Cow::Owned(format!("{}.{}", series.name, series.field))
    }
}

pub type Pairs = Vec<(String, String)>;

/// One series of a list.
struct Listed {
    selection: Arc<Selection>,
    position: usize,
    attributes: Pairs,
}

impl Listed {
    fn canonical(&self) -> Result<Vec<u8>> {
        self.selection.canonical(self.position)
    }
}

/// Series of several selections, in their order.
#[derive(Default)]
pub struct GtsSeries {
    listed: Vec<Listed>,
}

impl GtsSeries {
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Adds the series of `selection` whose class passes.
    pub fn add(&mut self, selection: &Arc<Selection>, passes: Option<&Matcher>) -> Result<()> {
        for position in 0..selection.len() {
            if let Some(matcher) = passes {
                let canonical = selection.canonical(position)?;
                if !matcher.matches(&class(&SeriesView::parse(&canonical)?)) {
                    continue;
                }
            }
            self.listed.push(Listed {
                selection: Arc::clone(selection),
                position,
                attributes: Vec::new(),
            });
        }
        Ok(())
    }

    /// Leaves `count` series behind the first `skip`.
    pub fn keep(&mut self, skip: usize, count: usize) {
        self.listed.drain(..skip.min(self.listed.len()));
        self.listed.truncate(count);
    }

    pub fn canonical(&self, at: usize) -> Result<Vec<u8>> {
        let listed = self.listed.get(at).ok_or_else(|| {
            CoreError::Invalid(format!("cannot show series {at}: there are {}", self.len()))
        })?;
        listed.canonical()
    }

    pub fn annotate(&mut self, at: usize, attributes: Pairs) {
        if let Some(listed) = self.listed.get_mut(at) {
            listed.attributes = attributes;
        }
    }

    /// Leaves each series once: selectors may overlap.
    pub fn deduplicate(&mut self) -> Result<()> {
        let mut seen = HashSet::with_capacity(self.len());
        let mut kept = Vec::with_capacity(self.len());
        for listed in self.listed.drain(..) {
            if seen.insert(series_id(&listed.canonical()?)) {
                kept.push(listed);
            }
        }
        self.listed = kept;
        Ok(())
    }

    /// Two series that have one class and one set of labels here, where there are any.
    pub fn collision(&self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut seen: HashMap<u128, usize> = HashMap::with_capacity(self.len());
        for at in 0..self.len() {
            let canonical = self.canonical(at)?;
            let series = SeriesView::parse(&canonical)?;
            let mut labels = series.labels.clone();
            let shown = crate::series::canonical(&class(&series), "", &mut labels)?;
            if let Some(before) = seen.insert(series_id(&shown), at) {
                return Ok(Some((self.canonical(before)?, canonical)));
            }
        }
        Ok(None)
    }

    /// `/find`: a line a series, or objects of JSON with commas between them.
    pub fn names(
        &self,
        first: usize,
        count: usize,
        is_json: bool,
        with_attributes: bool,
    ) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let end = first.saturating_add(count).min(self.len());
        for at in first..end {
            let listed = &self.listed[at];
            let canonical = listed.canonical()?;
            let series = SeriesView::parse(&canonical)?;
            if is_json {
                out.extend_from_slice(if at == 0 { b"{" } else { b",\n{" });
                push_json_head(&mut out, &series, &listed.attributes);
                out.extend_from_slice(b",\"la\":0}");
            } else {
                push_text_head(&mut out, &series);
                if with_attributes {
                    push_attributes(&mut out, &listed.attributes);
                }
                out.push(b'\n');
            }
        }
        Ok(out)
    }
}

fn push_pairs<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    for (place, (name, value)) in pairs.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_percent_encoded(name.as_bytes(), out);
        out.push(b'=');
        push_percent_encoded(value.as_bytes(), out);
    }
}

fn push_braced<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    out.push(b'{');
    push_pairs(out, pairs);
    out.push(b'}');
}

fn push_attributes(out: &mut Vec<u8>, attributes: &Pairs) {
    push_braced(out, attributes.iter().map(|(k, v)| (&**k, &**v)));
}

/// `class{labels}`
fn push_text_head(out: &mut Vec<u8>, series: &SeriesView<'_>) {
    push_percent_encoded(class(series).as_bytes(), out);
    push_braced(out, series.labels.iter().copied());
}

fn push_json_object<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    out.push(b'{');
    for (place, (name, value)) in pairs.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_text(out, name);
        out.push(b':');
        push_text(out, value);
    }
    out.push(b'}');
}

/// `"c":class,"l":labels,"a":attributes`
fn push_json_head(out: &mut Vec<u8>, series: &SeriesView<'_>, attributes: &Pairs) {
    out.extend_from_slice(b"\"c\":");
    push_text(out, &class(series));
    out.extend_from_slice(b",\"l\":");
    push_json_object(out, series.labels.iter().copied());
    out.extend_from_slice(b",\"a\":");
    push_json_object(out, attributes.iter().map(|(k, v)| (&**k, &**v)));
}

/// How samples are to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub format: Format,
    pub unit_ns: i64,
    pub range: TimeRange,
    /// Of each series, from its newest on.
    pub skip: u64,
    pub count: u64,
    /// Of samples with one value in a row the oldest and the newest are shown.
    pub dedup: bool,
    pub show_attributes: bool,
}

/// A sample on its way out: bits, or what they point to.
#[derive(Debug, Clone, PartialEq)]
struct Point {
    time_ns: i64,
    kind: Kind,
    bits: u64,
    payload: Vec<u8>,
    side: Side,
}

impl Point {
    fn of(run: &Run, at: usize) -> Self {
        Self {
            time_ns: run.times_ns[at],
            kind: run.kind,
            bits: if run.kind.uses_heap() {
                0
            } else {
                run.values[at]
            },
            payload: run.payload_of(at).to_vec(),
            side: run.sides.at(at),
        }
    }

    fn has_value(&self, run: &Run, at: usize) -> bool {
        self.kind == run.kind
            && self.side == run.sides.at(at)
            && if run.kind.uses_heap() {
                self.payload == run.payload_of(at)
            } else {
                self.bits == run.values[at]
            }
    }
}

impl Run {
    /// Empty where the kind has none.
    fn payload_of(&self, at: usize) -> &[u8] {
        if self.kind.uses_heap() {
            self.payload(at).unwrap_or_default()
        } else {
            b""
        }
    }
}

/// What is known of the series that is being written.
struct Open {
    canonical: Vec<u8>,
    /// Where samples lie that were not read yet.
    extents: Vec<Extent>,
    /// Newest time that was not read yet.
    max_ns: i64,
    skipped: u64,
    taken: u64,
    has_head: bool,
    last: Option<Point>,
    /// Left out as a repetition so far; shown if the series ends with it.
    repeated: Option<Point>,
}

/// The samples of a list of series as text, a chunk at a time.
pub struct GtsExport {
    series: Arc<GtsSeries>,
    asked: Asked,
    at: usize,
    open: Option<Open>,
    has_begun: bool,
    has_series: bool,
    has_ended: bool,
}

impl GtsExport {
    pub fn new(series: Arc<GtsSeries>, asked: Asked) -> Self {
        Self {
            series,
            asked,
            at: 0,
            open: None,
            has_begun: false,
            has_series: false,
            has_ended: false,
        }
    }

    /// The next bytes; none where all are out.
    pub fn next_chunk(&mut self, meter: &Meter) -> Result<Option<Vec<u8>>> {
        if self.has_ended {
            return Ok(None);
        }
        let mut out = Vec::new();
        if !self.has_begun && self.asked.format == Format::Json {
            out.push(b'[');
        }
        self.has_begun = true;
        while out.len() < CHUNK_BYTES {
            meter.check()?;
            let mut open = match self.open.take() {
                Some(open) => open,
                None if self.at == self.series.len() => {
                    self.has_ended = true;
                    if self.asked.format == Format::Json {
                        out.push(b']');
                    }
                    break;
                }
                None => self.opened()?,
            };
            if self.window(&mut open, meter, &mut out)? {
                self.close(&mut open, &mut out)?;
                self.at += 1;
            } else {
                self.open = Some(open);
            }
        }
        Ok(Some(out))
    }

    fn opened(&self) -> Result<Open> {
        let listed = &self.series.listed[self.at];
        Ok(Open {
            canonical: listed.canonical()?,
            extents: listed
                .selection
                .extents(listed.position, self.asked.range)?,
            max_ns: self.asked.range.max_ns,
            skipped: 0,
            taken: 0,
            has_head: false,
            last: None,
            repeated: None,
        })
    }

    /// Writes the newest window that was not read; true where the series is at its end.
    fn window(&mut self, open: &mut Open, meter: &Meter, out: &mut Vec<u8>) -> Result<bool> {
        let wanted = self.asked.skip.saturating_add(self.asked.count);
        let left = wanted.saturating_sub(open.skipped + open.taken);
        let target = usize::try_from(left).map_or(WINDOW_SAMPLES, |left| left.min(WINDOW_SAMPLES));
        if target == 0 || open.extents.is_empty() {
            return Ok(true);
        }
        let range = next_window(
            &mut open.extents,
            self.asked.range.min_ns,
            open.max_ns,
            target,
        );
        let listed = &self.series.listed[self.at];
        let runs = listed.selection.read(listed.position, range, meter)?;
        for run in runs.iter().rev() {
            for at in (0..run.len()).rev() {
                if open.skipped < self.asked.skip {
                    open.skipped += 1;
                } else if open.taken < self.asked.count {
                    open.taken += 1;
                    self.sample(open, run, at, out)?;
                } else {
                    return Ok(true);
                }
            }
        }
        open.max_ns = range.min_ns.saturating_sub(1);
        Ok(range.min_ns <= self.asked.range.min_ns)
    }

    fn sample(&mut self, open: &mut Open, run: &Run, at: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.asked.dedup {
            if open
                .last
                .as_ref()
                .is_some_and(|last| last.has_value(run, at))
            {
                open.repeated = Some(Point::of(run, at));
                return Ok(());
            }
            open.repeated = None;
            open.last = Some(Point::of(run, at));
        }
        self.show(open, run, at, out)
    }

    fn close(&mut self, open: &mut Open, out: &mut Vec<u8>) -> Result<()> {
        if let Some(point) = open.repeated.take() {
            let mut run = Run::new(point.kind);
            run.sides.push(0, point.side);
            if point.kind.uses_heap() {
                run.push_payload(point.time_ns, &point.payload);
            } else {
                run.times_ns.push(point.time_ns);
                run.values.push(point.bits);
            }
            self.show(open, &run, 0, out)?;
        }
        if open.has_head && self.asked.format == Format::Json {
            out.extend_from_slice(b"]}");
        }
        Ok(())
    }

    fn show(&mut self, open: &mut Open, run: &Run, at: usize, out: &mut Vec<u8>) -> Result<()> {
        let series = SeriesView::parse(&open.canonical)?;
        let attributes = &self.series.listed[self.at].attributes;
        let time = run.times_ns[at].div_euclid(self.asked.unit_ns);
        let is_first = !open.has_head;
        match self.asked.format {
            Format::Text | Format::FullText => {
                let is_whole = is_first || self.asked.format == Format::FullText;
                if !is_whole {
                    out.push(b'=');
                }
                push_whole(out, time);
                push_place(out, run.sides.at(at));
                if is_whole {
                    push_text_head(out, &series);
                    if self.asked.show_attributes {
                        push_attributes(out, attributes);
                    }
                    out.push(b' ');
                }
                push_value(out, run, at)?;
                out.push(b'\n');
            }
            Format::Tsv | Format::FullTsv => {
                if self.asked.format == Format::FullTsv {
                    push_percent_encoded(class(&series).as_bytes(), out);
                    out.push(b'\t');
                    push_pairs(out, series.labels.iter().copied());
                    out.push(b'\t');
                    push_pairs(out, attributes.iter().map(|(k, v)| (&**k, &**v)));
                    out.push(b'\t');
                } else if is_first {
                    out.extend_from_slice(b"# ");
                    push_text_head(out, &series);
                    push_attributes(out, attributes);
                    out.push(b'\n');
                }
                push_whole(out, time);
                push_place_columns(out, run.sides.at(at));
                push_value(out, run, at)?;
                out.push(b'\n');
            }
            Format::Json => {
                if is_first {
                    out.extend_from_slice(if self.has_series { b",{" } else { b"{" });
                    push_json_head(out, &series, attributes);
                    let id = series_id(&open.canonical) as u64 >> 1;
                    out.extend_from_slice(b",\"i\":\"");
                    out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
                    out.extend_from_slice(b"\",\"la\":0,\"v\":[");
                } else {
                    out.push(b',');
                }
                out.push(b'[');
                push_whole(out, time);
                push_place_items(out, run.sides.at(at));
                out.push(b',');
                push_json_value(out, run, at)?;
                out.push(b']');
            }
        }
        open.has_head = true;
        self.has_series = true;
        Ok(())
    }
}

/// The newest part of what is left that holds about `target` samples, and begins where a page does;
/// takes it out of `extents`.
fn next_window(extents: &mut Vec<Extent>, min_ns: i64, max_ns: i64, target: usize) -> TimeRange {
    extents.sort_unstable_by_key(|extent| std::cmp::Reverse(extent.range.max_ns));
    let newest = extents.first().map_or(min_ns, |extent| extent.range.max_ns);
    let mut from = min_ns;
    let mut count = 0;
    for extent in extents.iter() {
        if count >= target && extent.range.max_ns < newest {
            from = extent.range.max_ns + 1;
            break;
        }
        count += extent.count.max(1);
    }
    extents.retain_mut(|extent| {
        extent.range.max_ns = extent.range.max_ns.min(from.saturating_sub(1));
        extent.range.min_ns < from
    });
    TimeRange {
        min_ns: from,
        max_ns,
    }
}

/// Latitude and longitude, and the elevation, of what has them.
fn places(side: Side) -> (Option<(f64, f64)>, Option<i64>) {
    let given = |column: SideColumn| {
        let bits = side[column as usize];
        (bits != NO_SIDE[column as usize]).then_some(bits)
    };
    (
        given(SideColumn::Position).map(coordinates),
        given(SideColumn::Elevation),
    )
}

/// `/LAT:LON/ELEVATION ` behind a time.
fn push_place(out: &mut Vec<u8>, side: Side) {
    if side == NO_SIDE {
        out.extend_from_slice(b"// ");
        return;
    }
    let (place, elevation) = places(side);
    out.push(b'/');
    if let Some((latitude, longitude)) = place {
        push_double(out, latitude);
        out.push(b':');
        push_double(out, longitude);
    }
    out.push(b'/');
    if let Some(elevation) = elevation {
        push_whole(out, elevation);
    }
    out.push(b' ');
}

/// Three columns between tabs.
fn push_place_columns(out: &mut Vec<u8>, side: Side) {
    let (place, elevation) = places(side);
    out.push(b'\t');
    if let Some((latitude, longitude)) = place {
        push_double(out, latitude);
        out.push(b'\t');
        push_double(out, longitude);
    } else {
        out.push(b'\t');
    }
    out.push(b'\t');
    if let Some(elevation) = elevation {
        push_whole(out, elevation);
    }
    out.push(b'\t');
}

/// Items of a list behind a time: as many as there are.
fn push_place_items(out: &mut Vec<u8>, side: Side) {
    let (place, elevation) = places(side);
    if let Some((latitude, longitude)) = place {
        out.push(b',');
        push_double(out, latitude);
        out.push(b',');
        push_double(out, longitude);
    }
    if let Some(elevation) = elevation {
        out.push(b',');
        push_whole(out, elevation);
    }
}

fn push_whole(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// As Java prints a double, in as few digits as read back the same.
fn push_double(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 {
            b"Infinity"
        } else {
            b"-Infinity"
        });
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            out.extend_from_slice(mantissa.as_bytes());
            if !mantissa.contains('.') {
                out.extend_from_slice(b".0");
            }
            out.push(b'E');
            out.extend_from_slice(exponent.as_bytes());
        }
        None => out.extend_from_slice(text.as_bytes()),
    }
}

fn unshown() -> CoreError {
    CoreError::Invalid(
        "cannot show a series: it holds histograms, which this format has no form for".into(),
    )
}

fn push_value(out: &mut Vec<u8>, run: &Run, at: usize) -> Result<()> {
    match run.kind {
        Kind::Float64 => push_double(out, f64::from_bits(run.values[at])),
        Kind::Int64 => push_whole(out, run.values[at] as i64),
        Kind::Uint64 => {
            out.extend_from_slice(itoa::Buffer::new().format(run.values[at]).as_bytes());
        }
        Kind::Bool => out.push(if run.values[at] == 0 { b'F' } else { b'T' }),
        Kind::String => {
            out.push(b'\'');
            push_percent_encoded(run.payload_of(at), out);
            out.push(b'\'');
        }
        Kind::Bytes => {
            out.extend_from_slice(b"b64:");
            push_base64(run.payload_of(at), out);
        }
        Kind::Histogram => return Err(unshown()),
    }
    Ok(())
}

fn push_json_value(out: &mut Vec<u8>, run: &Run, at: usize) -> Result<()> {
    match run.kind {
        Kind::Bool => {
            out.extend_from_slice(if run.values[at] == 0 {
                b"false"
            } else {
                b"true"
            });
        }
        Kind::String => push_text(out, &String::from_utf8_lossy(run.payload_of(at))),
        // Warp 10's own way: each byte is the character of that number.
        Kind::Bytes => {
            let text: String = run.payload_of(at).iter().copied().map(char::from).collect();
            push_text(out, &text);
        }
        _ => return push_value(out, run, at),
    }
    Ok(())
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
pub(crate) mod python {
    use super::{Asked, Format, GtsExport, GtsSeries, Pairs};
    use crate::error::{CoreError, Result};
    use crate::meter::python::PyMeter;
    use crate::selector::Matcher;
    use crate::snapshot::python::PySelection;
    use crate::source::TimeRange;
    use parking_lot::Mutex;
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyDict};
    use std::sync::Arc;

    /// Built by one thread, then read: an export takes it as it stands.
    #[pyclass(name = "GtsSeries", frozen)]
    pub struct PyGtsSeries(Mutex<Arc<GtsSeries>>);

    #[pyclass(name = "GtsExport", frozen)]
    pub struct PyGtsExport(Mutex<GtsExport>);

    impl PyGtsSeries {
        fn change<T>(&self, change: impl FnOnce(&mut GtsSeries) -> Result<T>) -> Result<T> {
            let mut series = self.0.lock();
            let series = Arc::get_mut(&mut series).ok_or_else(|| {
                CoreError::Invalid("cannot change a list of series that is being shown".into())
            })?;
            change(series)
        }
    }

    #[pymethods]
    impl PyGtsSeries {
        #[new]
        fn new() -> Self {
            Self(Mutex::new(Arc::default()))
        }

        fn __len__(&self) -> usize {
            self.0.lock().len()
        }

        #[pyo3(signature = (selection, class_matcher = None))]
        fn add(
            &self,
            py: Python<'_>,
            selection: &PySelection,
            class_matcher: Option<(String, String)>,
        ) -> PyResult<()> {
            Ok(py.detach(|| {
                let matcher = class_matcher
                    .map(|(operator, value)| Matcher::parse("__name__", &operator, &value))
                    .transpose()?;
                self.change(|series| series.add(&selection.0, matcher.as_ref()))
            })?)
        }

        fn keep(&self, skip: usize, count: usize) -> PyResult<()> {
            Ok(self.change(|series| {
                series.keep(skip, count);
                Ok(())
            })?)
        }

        fn deduplicate(&self, py: Python<'_>) -> PyResult<()> {
            Ok(py.detach(|| self.change(GtsSeries::deduplicate))?)
        }

        fn collision<'py>(
            &self,
            py: Python<'py>,
        ) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
            let found = py.detach(|| self.0.lock().collision())?;
            Ok(found.map(|(one, other)| (PyBytes::new(py, &one), PyBytes::new(py, &other))))
        }

        fn canonical<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyBytes>> {
            Ok(PyBytes::new(py, &self.0.lock().canonical(at)?))
        }

        fn annotate(
            &self,
            py: Python<'_>,
            book: &Bound<'_, PyDict>,
            first: usize,
            count: usize,
        ) -> PyResult<()> {
            for at in first..first.saturating_add(count).min(self.__len__()) {
                let canonical = PyBytes::new(py, &self.0.lock().canonical(at)?);
                if let Some(found) = book.get_item(canonical)? {
                    let pairs: Pairs = found.extract()?;
                    self.change(|series| {
                        series.annotate(at, pairs);
                        Ok(())
                    })?;
                }
            }
            Ok(())
        }

        #[pyo3(signature = (first, count, *, is_json, with_attributes))]
        fn names<'py>(
            &self,
            py: Python<'py>,
            first: usize,
            count: usize,
            is_json: bool,
            with_attributes: bool,
        ) -> PyResult<Bound<'py, PyBytes>> {
            let text = py.detach(|| self.0.lock().names(first, count, is_json, with_attributes))?;
            Ok(PyBytes::new(py, &text))
        }

        #[pyo3(signature = (*, format, unit_ns, min_ns, max_ns, skip, count, dedup, show_attributes))]
        fn export(
            &self,
            format: &str,
            unit_ns: i64,
            min_ns: i64,
            max_ns: i64,
            skip: u64,
            count: u64,
            dedup: bool,
            show_attributes: bool,
        ) -> PyResult<PyGtsExport> {
            if unit_ns <= 0 {
                return Err(CoreError::Invalid(format!(
                    "cannot show series: a time unit of {unit_ns} ns is not positive"
                ))
                .into());
            }
            let asked = Asked {
                format: Format::parse(format)?,
                unit_ns,
                range: TimeRange { min_ns, max_ns },
                skip,
                count,
                dedup,
                show_attributes,
            };
            let series = Arc::clone(&self.0.lock());
            Ok(PyGtsExport(Mutex::new(GtsExport::new(series, asked))))
        }
    }

    #[pymethods]
    impl PyGtsExport {
        fn next_chunk<'py>(
            &self,
            py: Python<'py>,
            meter: &PyMeter,
        ) -> PyResult<Option<Bound<'py, PyBytes>>> {
            let chunk = py.detach(|| self.0.lock().next_chunk(&meter.0))?;
            Ok(chunk.map(|bytes| PyBytes::new(py, &bytes)))
        }
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyGtsSeries>()?;
        module.add_class::<PyGtsExport>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        push_double(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_spelled_as_java_reads_them() {
        for (value, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (213_047.359_375, "213047.359375"),
            (1e300, "1.0E300"),
            (-1.5e-9, "-1.5E-9"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), expected);
        }
    }

    proptest! {
        /// Windows go back without a gap or an overlap, whatever the pages are like.
        #[test]
        fn windows_cover_all_there_is(
            pages in prop::collection::vec((0i64..1000, 0i64..300, 0usize..50), 1..12),
            target in 1usize..100,
        ) {
            let mut extents: Vec<Extent> = pages
                .iter()
                .map(|&(min_ns, length, count)| Extent {
                    range: TimeRange { min_ns, max_ns: min_ns + length },
                    count,
                    page: None,
                })
                .collect();
            let mut max_ns = 5000;
            while !extents.is_empty() {
                let range = next_window(&mut extents, -10, max_ns, target);
                prop_assert_eq!(range.max_ns, max_ns);
                prop_assert!(range.min_ns <= max_ns);
                max_ns = range.min_ns - 1;
            }
            prop_assert!(pages.iter().all(|&(min_ns, _, _)| min_ns > max_ns));
        }
    }
}
