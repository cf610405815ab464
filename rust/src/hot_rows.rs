//! The hot rows of a chunk of series, on pages of their own: a chunk that nobody lives in gives them
//! back while references into it stay valid. `series_store` has one for each chunk.
//!
//! `unsafe` makes rows of mapped pages, and lets the kernel take pages back under shared references.
//! Both are sound because a row is nothing but atomics for which all bits zero is a value: what a
//! reader sees across `forget` is a row of before or a row of zeros. The tests of this file and of
//! `series_store` hold it against a model; under Miri, which maps nothing, rows are boxed.

use crate::error::{CoreError, Result};
use crate::series_store::Hot;

#[cfg(all(target_os = "linux", not(miri)))]
pub struct HotRows {
    pages: memmap2::MmapRaw,
    count: usize,
}

#[cfg(all(target_os = "linux", not(miri)))]
impl HotRows {
    /// Rows of zeros; they take memory once they are written to.
    pub fn new(count: usize) -> Result<Self> {
        let bytes = count * size_of::<Hot>();
        let pages = memmap2::MmapMut::map_anon(bytes).map_err(|error| {
            CoreError::Unavailable(format!("cannot map {bytes} bytes for series: {error}"))
        })?;
        Ok(Self {
            pages: pages.into(),
            count,
        })
    }

    #[inline]
    #[allow(clippy::cast_ptr_alignment)] // A mapping begins at a page.
    pub fn get(&self, at: usize) -> Option<&Hot> {
        // SAFETY: the mapping is private, lives as long as `self`, begins at a page and holds `count`
        // rows; rows are atomics, and zeros are a row. Nobody has a pointer to them but through here.
        (at < self.count).then(|| unsafe { &*self.pages.as_ptr().cast::<Hot>().add(at) })
    }

    /// Makes all rows zeros and gives their memory back.
    pub fn forget(&self) {
        // SAFETY: the pages stay mapped; whoever reads an atomic of theirs sees it before or zero.
        let given_back = unsafe {
            self.pages
                .unchecked_advise(memmap2::UncheckedAdvice::DontNeed)
        };
        // Where the kernel keeps them, they are rows without a series all the same.
        drop(given_back);
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
pub struct HotRows(Box<[Hot]>);

#[cfg(not(all(target_os = "linux", not(miri))))]
impl HotRows {
    pub fn new(count: usize) -> Result<Self> {
        Ok(Self((0..count).map(|_| Hot::default()).collect()))
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<&Hot> {
        self.0.get(at)
    }

    /// Elsewhere no call promises zeros.
    pub fn forget(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series_store::LIVE;

    #[test]
    fn rows_are_apart_and_begin_anew_once_forgotten() {
        let rows = HotRows::new(1000).unwrap();
        let row = rows.get(999).unwrap();
        assert!(rows.get(1000).is_none() && row.state() == 0);
        row.set(LIVE);
        row.note_sample(7);
        assert!(!rows.get(998).unwrap().has(LIVE) && rows.get(999).unwrap().has(LIVE));
        row.unset(LIVE);
        rows.forget();
        assert_eq!((row.state(), row.id()), (0, 0));
        row.set(LIVE);
        assert!(rows.get(999).unwrap().has(LIVE) && !rows.get(0).unwrap().has(LIVE));
    }
}
