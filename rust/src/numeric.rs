//! Mixed kinds as numbers, and as one column a kind; `snapshot` calls it.
//!
//! As numbers: float64 as it is, int64 and uint64 converted, bool 1 or 0; strings, bytes and
//! histograms are left out, never turned into zeros, and the caller is told. `mixed` keeps
//! histograms among the numbers.

use crate::error::{CoreError, Result};
use crate::sample::{Kind, Run};
use crate::sides::Sides;

#[derive(Debug, Default, PartialEq)]
pub struct Numbers {
    pub times_ns: Vec<i64>,
    pub values: Vec<f64>,
    pub texts_left_out: bool,
    pub histograms_left_out: bool,
}

/// Settled runs of one series, ascending, as numbers.
pub fn numbers(mut runs: Vec<Run>) -> Numbers {
    if runs.len() == 1 && runs[0].kind == Kind::Float64 {
        let run = runs.remove(0);
        // The same allocation, read as floats.
        let values = run.values.into_iter().map(f64::from_bits).collect();
        return Numbers {
            times_ns: run.times_ns,
            values,
            ..Numbers::default()
        };
    }
    let mut out = Numbers::default();
    for run in runs {
        let Some(convert) = conversion(run.kind) else {
            out.texts_left_out |= run.kind != Kind::Histogram;
            out.histograms_left_out |= run.kind == Kind::Histogram;
            continue;
        };
        out.times_ns.extend_from_slice(&run.times_ns);
        out.values.extend(run.values.into_iter().map(convert));
    }
    out
}

/// From bits to a number; none for what is none.
fn conversion(kind: Kind) -> Option<fn(u64) -> f64> {
    Some(match kind {
        Kind::Float64 => f64::from_bits,
        Kind::Int64 => |bits| bits as i64 as f64,
        Kind::Uint64 | Kind::Bool => |bits| bits as f64,
        Kind::String | Kind::Bytes | Kind::Histogram => return None,
    })
}

/// Numbers and histograms of one series, ascending; texts are left out.
#[derive(Debug, Default, PartialEq)]
pub struct Mixed {
    pub times_ns: Vec<i64>,
    /// NaN where a histogram stands.
    pub values: Vec<f64>,
    pub payloads: Vec<Option<Vec<u8>>>,
}

/// As `numbers`, with histograms as their payloads.
pub fn mixed(runs: Vec<Run>) -> Result<Mixed> {
    let mut out = Mixed::default();
    for run in runs {
        if let Some(convert) = conversion(run.kind) {
            out.payloads.resize(out.payloads.len() + run.len(), None);
            out.times_ns.extend_from_slice(&run.times_ns);
            out.values.extend(run.values.into_iter().map(convert));
        } else if run.kind == Kind::Histogram {
            for at in 0..run.len() {
                out.times_ns.push(run.times_ns[at]);
                out.values.push(f64::NAN);
                out.payloads.push(Some(payload_of(&run, at)?.to_vec()));
            }
        }
    }
    Ok(out)
}

fn payload_of(run: &Run, at: usize) -> Result<&[u8]> {
    run.payload(at).ok_or_else(|| {
        CoreError::Corrupt("cannot read a sample: its bytes lie outside the heap".into())
    })
}

/// All samples of one kind of a batch of series, for columnar export.
#[derive(Debug, PartialEq)]
pub struct KindColumn {
    pub kind: Kind,
    /// Which series of the batch each sample is of.
    pub series: Vec<u32>,
    pub times_ns: Vec<i64>,
    /// Bits; for kinds with a heap, empty.
    pub values: Vec<u64>,
    /// For kinds with a heap: sample `i` owns bytes `offsets[i]..offsets[i + 1]` of it.
    pub offsets: Vec<i64>,
    pub heap: Vec<u8>,
    pub sides: Sides,
}

impl KindColumn {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            series: Vec::new(),
            times_ns: Vec::new(),
            values: Vec::new(),
            offsets: vec![0],
            heap: Vec::new(),
            sides: Sides::default(),
        }
    }

    fn append(&mut self, series: u32, run: Run) -> Result<()> {
        self.sides
            .append(self.series.len(), &run.sides, 0..run.len());
        self.series.resize(self.series.len() + run.len(), series);
        self.times_ns.extend_from_slice(&run.times_ns);
        if !self.kind.uses_heap() {
            self.values.extend(run.values);
            return Ok(());
        }
        for at in 0..run.len() {
            self.heap.extend_from_slice(payload_of(&run, at)?);
            self.offsets.push(self.heap.len() as i64);
        }
        Ok(())
    }
}

/// Adds the runs of one series to the columns, a new one for each kind that is met first.
pub fn append_columns(columns: &mut Vec<KindColumn>, series: u32, runs: Vec<Run>) -> Result<()> {
    for run in runs {
        let at = columns.iter().position(|column| column.kind == run.kind);
        let at = at.unwrap_or_else(|| {
            columns.push(KindColumn::new(run.kind));
            columns.len() - 1
        });
        columns[at].append(series, run)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: Kind, samples: &[(i64, u64)]) -> Run {
        Run {
            kind,
            times_ns: samples.iter().map(|s| s.0).collect(),
            values: samples.iter().map(|s| s.1).collect(),
            ..Run::new(kind)
        }
    }

    fn text(time: i64, payload: &str) -> Run {
        let mut run = Run::new(Kind::String);
        run.push_payload(time, payload.as_bytes());
        run
    }

    #[test]
    fn kinds_become_numbers_and_texts_stay_out() {
        let got = numbers(vec![
            run(Kind::Float64, &[(1, 1.5f64.to_bits())]),
            run(Kind::Int64, &[(2, (-2i64) as u64)]),
            text(3, "x"),
            run(Kind::Uint64, &[(4, 4)]),
            run(Kind::Bool, &[(5, 1)]),
        ]);
        assert_eq!(got.times_ns, [1, 2, 4, 5]);
        assert_eq!(got.values, [1.5, -2.0, 4.0, 1.0]);
        assert!(got.texts_left_out);
    }

    #[test]
    fn histograms_stay_among_the_numbers() {
        let mut histogram = Run::new(Kind::Histogram);
        histogram.push_payload(2, b"h");
        let runs = vec![run(Kind::Int64, &[(1, 7)]), histogram, text(3, "x")];
        let numbers = numbers(runs.clone());
        assert!(numbers.histograms_left_out && numbers.texts_left_out);
        assert_eq!(numbers.values, [7.0]);
        let got = mixed(runs).unwrap();
        assert_eq!((got.times_ns, got.values[0]), (vec![1, 2], 7.0));
        assert_eq!(got.payloads, [None, Some(b"h".to_vec())]);
    }

    #[test]
    fn one_float_run_keeps_every_bit() {
        let stale = crate::sample::STALE_NAN_BITS;
        let got = numbers(vec![run(Kind::Float64, &[(1, stale)])]);
        assert_eq!(got.values[0].to_bits(), stale);
        assert!(!got.texts_left_out);
    }

    #[test]
    fn columns_gather_by_kind() {
        let mut columns = Vec::new();
        append_columns(
            &mut columns,
            0,
            vec![text(1, "ab"), run(Kind::Bool, &[(2, 1)])],
        )
        .unwrap();
        append_columns(&mut columns, 1, vec![text(3, ""), text(4, "c")]).unwrap();
        let texts = &columns[0];
        assert_eq!(
            (texts.series.as_slice(), texts.times_ns.as_slice()),
            (&[0, 1, 1][..], &[1, 3, 4][..])
        );
        assert_eq!(
            (texts.offsets.as_slice(), texts.heap.as_slice()),
            (&[0, 2, 2, 3][..], &b"abc"[..])
        );
        assert_eq!(
            (columns[1].kind, columns[1].values.as_slice()),
            (Kind::Bool, &[1][..])
        );
        let mut broken = text(1, "ab");
        broken.heap.clear();
        assert!(append_columns(&mut columns, 0, vec![broken]).is_err());
    }
}
