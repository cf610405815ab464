//! Samples of a part of a head generation's series, in arrival order, as rows in a bump arena.
//!
//! A series' rows stand in a chain of chunks that double in size: appending never copies, and a
//! generation is freed by its segments, not by its series. A chunk has one kind; a row before its
//! samples holds the address of the chunk before it and how much of that chunk is used. `generation`
//! locks each stripe by itself.

use crate::error::{CoreError, Result};
use crate::prefetch::prefetch;
use crate::record_samples::Columns;
use crate::sample::{Kind, Run, payload};
use crate::sides::Side;
use crate::source::TimeRange;
use std::ops::Range;

const SEGMENT_BITS: u32 = 12;
const SEGMENT_ROWS: u32 = 1 << SEGMENT_BITS;
const FIRST_CHUNK_ROWS: u32 = 4;
const CHUNK_ROWS_MAX: u32 = 128;
/// A few hundred samples stand in so many chunks.
const CHUNKS_ABOUT: usize = 8;
const NO_CHUNK: u32 = u32::MAX;
/// Set in the kind of a chunk whose rows have, for bits, a place in the arena's `sided`.
const SIDED: u8 = 0x80;
/// Series of one page of slots; the neighbours of a scrape or a line share it.
pub const PAGE_SERIES: usize = 256;
/// Slots and the last rows of so many pages take 96 KiB.
const PAGES_AT_HAND: usize = 4;

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    time_ns: i64,
    bits: u64,
}

/// Bits of a sample that has side columns, and those.
#[derive(Debug, Clone, Copy)]
struct Sided {
    bits: u64,
    side: Side,
}

/// One series; 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Slot {
    chunk: u32,
    used: u16,
    /// Samples that fit into the chunk.
    capacity: u16,
    /// Of its chunk, with `SIDED` where that is so.
    kind: u8,
    /// The series table counts a hold for this slot.
    held: bool,
    min_ns: i64,
    max_ns: i64,
}

const EMPTY_SLOT: Slot = Slot {
    chunk: NO_CHUNK,
    used: 0,
    capacity: 0,
    kind: 0,
    held: false,
    min_ns: i64::MAX,
    max_ns: i64::MIN,
};

type Page = Box<[Slot; PAGE_SERIES]>;

/// Rows and payloads of all series of a stripe.
#[derive(Debug, Default)]
struct Arena {
    segments: Vec<Box<[Row]>>,
    next_row: u32,
    heap: Vec<u8>,
    sided: Vec<Sided>,
    memory_bytes: usize,
}

#[derive(Debug, Default)]
pub struct Stripe {
    pages: Vec<Option<Page>>,
    arena: Arena,
    pages_bytes: usize,
}

/// How far the chain of a series' chunks has been followed to have it at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainStep {
    /// Its slot was asked for.
    Slot,
    /// This chunk was asked for.
    Chunk(u32),
    End,
}

/// A chunk found on the way back through a chain.
struct Chunk {
    first_row: u32,
    used: u32,
    kind: u8,
}

fn full(what: &str) -> CoreError {
    CoreError::Exhausted(format!("cannot buffer samples: a stripe's {what} are full"))
}

impl Arena {
    #[inline]
    fn append(
        &mut self,
        slot: &mut Slot,
        kind: Kind,
        mut times_ns: &[i64],
        mut values: &[u64],
        heap: &[u8],
    ) -> Result<()> {
        while !times_ns.is_empty() {
            if slot.used == slot.capacity || slot.kind != kind as u8 {
                self.grow(slot, kind as u8)?;
            }
            let count = times_ns.len().min(usize::from(slot.capacity - slot.used));
            let (now, later) = times_ns.split_at(count);
            let (bits, further) = values.split_at(count);
            let row = slot.chunk + 1 + u32::from(slot.used);
            if kind.uses_heap() {
                self.put_payloads(row, now, bits, heap)?;
            } else {
                for (row, (&time_ns, &bits)) in self.rows_mut(row, count).zip(now.iter().zip(bits))
                {
                    *row = Row { time_ns, bits };
                }
            }
            for &time_ns in now {
                slot.min_ns = slot.min_ns.min(time_ns);
                slot.max_ns = slot.max_ns.max(time_ns);
            }
            slot.used += count as u16;
            (times_ns, values) = (later, further);
        }
        Ok(())
    }

    #[cold]
    fn put_payloads(
        &mut self,
        row: u32,
        times_ns: &[i64],
        values: &[u64],
        heap: &[u8],
    ) -> Result<()> {
        for (at, (&time_ns, &bits)) in times_ns.iter().zip(values).enumerate() {
            let bits = self.keep_payload(payload(heap, bits).unwrap_or_default())?;
            self.put(row + at as u32, Row { time_ns, bits });
        }
        Ok(())
    }

    /// Appends samples that have side columns.
    #[cold]
    fn append_sided(
        &mut self,
        slot: &mut Slot,
        kind: Kind,
        columns: &Columns,
        samples: Range<usize>,
    ) -> Result<()> {
        let mark = kind as u8 | SIDED;
        for at in samples {
            if slot.used == slot.capacity || slot.kind != mark {
                self.grow(slot, mark)?;
            }
            let mut bits = columns.values[at];
            if kind.uses_heap() {
                bits = self.keep_payload(payload(&columns.heap, bits).unwrap_or_default())?;
            }
            let side = columns.sides.at(at);
            let place = self.sided.len() as u64;
            let before = self.sided.capacity();
            self.sided.push(Sided { bits, side });
            self.memory_bytes += (self.sided.capacity() - before) * size_of::<Sided>();
            let time_ns = columns.times_ns[at];
            let row = slot.chunk + 1 + u32::from(slot.used);
            self.put(
                row,
                Row {
                    time_ns,
                    bits: place,
                },
            );
            slot.used += 1;
            slot.min_ns = slot.min_ns.min(time_ns);
            slot.max_ns = slot.max_ns.max(time_ns);
        }
        Ok(())
    }

    /// Rows of one chunk.
    #[inline]
    fn rows_mut(&mut self, first_row: u32, count: usize) -> impl Iterator<Item = &mut Row> {
        let segment = &mut self.segments[(first_row >> SEGMENT_BITS) as usize];
        let from = (first_row & (SEGMENT_ROWS - 1)) as usize;
        segment[from..from + count].iter_mut()
    }

    #[inline]
    fn put(&mut self, at: u32, row: Row) {
        self.segments[(at >> SEGMENT_BITS) as usize][(at & (SEGMENT_ROWS - 1)) as usize] = row;
    }

    fn row(&self, at: u32) -> Row {
        self.segments[(at >> SEGMENT_BITS) as usize][(at & (SEGMENT_ROWS - 1)) as usize]
    }

    #[inline]
    fn prefetch(&self, row: u32) {
        let segment = self.segments.get((row >> SEGMENT_BITS) as usize);
        if let Some(row) = segment.and_then(|rows| rows.get((row & (SEGMENT_ROWS - 1)) as usize)) {
            prefetch(row);
        }
    }

    fn keep_payload(&mut self, payload: &[u8]) -> Result<u64> {
        let offset = self.heap.len();
        if offset + payload.len() > u32::MAX as usize {
            return Err(full("payloads"));
        }
        let before = self.heap.capacity();
        self.heap.extend_from_slice(payload);
        self.memory_bytes += self.heap.capacity() - before;
        Ok((offset as u64) << 32 | payload.len() as u64)
    }

    fn grow(&mut self, slot: &mut Slot, kind: u8) -> Result<()> {
        let rows = if slot.kind == kind {
            ((u32::from(slot.capacity) + 1) * 2).clamp(FIRST_CHUNK_ROWS, CHUNK_ROWS_MAX)
        } else {
            FIRST_CHUNK_ROWS
        };
        let left = SEGMENT_ROWS - (self.next_row & (SEGMENT_ROWS - 1));
        let mut chunk = self.next_row;
        if rows > left {
            chunk = chunk.checked_add(left).ok_or_else(|| full("rows"))?;
        }
        // One segment below the end of addresses, so that NO_CHUNK is none.
        let next_row = chunk
            .checked_add(rows)
            .filter(|&next| next < u32::MAX - SEGMENT_ROWS)
            .ok_or_else(|| full("rows"))?;
        if (chunk >> SEGMENT_BITS) as usize == self.segments.len() {
            let segment = vec![Row::default(); SEGMENT_ROWS as usize].into_boxed_slice();
            self.memory_bytes += size_of_val(&*segment);
            self.segments.push(segment);
        }
        self.next_row = next_row;
        let link = Row {
            time_ns: i64::from(slot.chunk),
            bits: u64::from(slot.used) << 8 | u64::from(slot.kind),
        };
        self.put(chunk, link);
        slot.chunk = chunk;
        slot.used = 0;
        slot.capacity = (rows - 1) as u16;
        slot.kind = kind;
        Ok(())
    }

    /// Chunks of a series from the oldest on.
    fn chunks(&self, slot: &Slot) -> Vec<Chunk> {
        let mut chunks = Vec::with_capacity(CHUNKS_ABOUT);
        let (mut chunk, mut used, mut kind) = (slot.chunk, u32::from(slot.used), slot.kind);
        while chunk != NO_CHUNK {
            let first_row = chunk + 1;
            chunks.push(Chunk {
                first_row,
                used,
                kind,
            });
            let link = self.row(chunk);
            (chunk, used, kind) = (
                link.time_ns as u32,
                (link.bits >> 8) as u32,
                link.bits as u8,
            );
        }
        chunks.reverse();
        chunks
    }

    fn rows(&self, chunk: &Chunk) -> &[Row] {
        let segment = &self.segments[(chunk.first_row >> SEGMENT_BITS) as usize];
        let from = (chunk.first_row & (SEGMENT_ROWS - 1)) as usize;
        &segment[from..from + chunk.used as usize]
    }

    /// The samples of `chunks`, which have one kind, inside the range; `is_whole` where that is all.
    fn run(&self, kind: u8, chunks: &[Chunk], range: TimeRange, is_whole: bool) -> Result<Run> {
        let mut run = Run::new(Kind::from_u8(kind & !SIDED)?);
        let count = chunks.iter().map(|chunk| chunk.used as usize).sum();
        run.times_ns.reserve(count);
        run.values.reserve(count);
        for chunk in chunks {
            let rows = self.rows(chunk);
            if is_whole {
                run.times_ns.extend(rows.iter().map(|row| row.time_ns));
                run.values.extend(rows.iter().map(|row| row.bits));
            } else {
                let inside = rows
                    .iter()
                    .filter(|row| range.min_ns <= row.time_ns && row.time_ns <= range.max_ns);
                for row in inside {
                    run.times_ns.push(row.time_ns);
                    run.values.push(row.bits);
                }
            }
        }
        if !is_ascending(&run.times_ns) {
            settle(&mut run.times_ns, &mut run.values);
        }
        if kind & SIDED != 0 {
            self.take_sides(&mut run);
        }
        if run.kind.uses_heap() {
            let values = std::mem::take(&mut run.values);
            for bits in values {
                let text = payload(&self.heap, bits).unwrap_or_default();
                run.values
                    .push((run.heap.len() as u64) << 32 | text.len() as u64);
                run.heap.extend_from_slice(text);
            }
        }
        Ok(run)
    }

    /// Puts values and side columns in the place of those that point at them.
    fn take_sides(&self, run: &mut Run) {
        for (at, bits) in run.values.iter_mut().enumerate() {
            let sided = self.sided[*bits as usize];
            run.sides.push(at, sided.side);
            *bits = sided.bits;
        }
    }
}

/// All pairs are looked at, as that is faster than to stop where one fails, which hardly any does.
fn is_ascending(times_ns: &[i64]) -> bool {
    let pairs = times_ns.iter().zip(times_ns.get(1..).unwrap_or_default());
    pairs.filter(|(before, after)| before >= after).count() == 0
}

impl Stripe {
    pub fn memory_bytes(&self) -> usize {
        self.pages_bytes + self.arena.memory_bytes
    }

    fn slot(&self, at: usize) -> Option<&Slot> {
        let page = self.pages.get(at / PAGE_SERIES)?.as_ref()?;
        page.get(at % PAGE_SERIES)
    }

    fn slot_mut(&mut self, at: usize) -> (&mut Slot, &mut Arena) {
        let page_at = at / PAGE_SERIES;
        if self.pages.len() <= page_at {
            let before = self.pages.capacity();
            self.pages.resize_with(page_at + 1, || None);
            self.pages_bytes += (self.pages.capacity() - before) * size_of::<Option<Page>>();
        }
        let taken = &mut self.pages_bytes;
        let page = self.pages[page_at].get_or_insert_with(|| {
            *taken += size_of::<[Slot; PAGE_SERIES]>();
            Box::new([EMPTY_SLOT; PAGE_SERIES])
        });
        (&mut page[at % PAGE_SERIES], &mut self.arena)
    }

    /// Whether its slots and the rows they append to are more than stays at hand while it is
    /// written to.
    pub fn exceeds_caches(&self) -> bool {
        self.pages.len() > PAGES_AT_HAND
    }

    /// Appends a sample without payload where the series' chunk has room for it; else false.
    #[inline]
    pub fn push(&mut self, at: usize, kind: Kind, time_ns: i64, bits: u64) -> bool {
        let page = self.pages.get_mut(at / PAGE_SERIES);
        let Some(slot) = page.and_then(|page| page.as_mut()?.get_mut(at % PAGE_SERIES)) else {
            return false;
        };
        if slot.used == slot.capacity || slot.kind != kind as u8 {
            return false;
        }
        let row = slot.chunk + 1 + u32::from(slot.used);
        self.arena.put(row, Row { time_ns, bits });
        slot.used += 1;
        slot.min_ns = slot.min_ns.min(time_ns);
        slot.max_ns = slot.max_ns.max(time_ns);
        true
    }

    /// Starts to load the slot of a series that is appended to soon.
    #[inline]
    pub fn prefetch_slot(&self, at: usize) {
        if let Some(slot) = self.slot(at) {
            prefetch(slot);
        }
    }

    /// Starts to load what comes after `step` in the chain of the series at `at`.
    pub fn follow(&self, at: usize, step: ChainStep) -> ChainStep {
        let next = match step {
            ChainStep::Slot => self.slot(at).map_or(NO_CHUNK, |slot| slot.chunk),
            ChainStep::Chunk(chunk) => self.arena.row(chunk).time_ns as u32,
            ChainStep::End => NO_CHUNK,
        };
        if next == NO_CHUNK {
            return ChainStep::End;
        }
        self.arena.prefetch(next);
        ChainStep::Chunk(next)
    }

    /// Starts to load the row where the next sample of a series goes; its slot should be there.
    #[inline]
    pub fn prefetch_row(&self, at: usize) {
        let Some(slot) = self.slot(at).filter(|slot| slot.used < slot.capacity) else {
            return;
        };
        self.arena.prefetch(slot.chunk + 1 + u32::from(slot.used));
    }

    /// Appends samples of one kind to the series at `at`; says, also where it fails, whether the
    /// series had none here before.
    ///
    /// `values` are bits as in `sample::Run`, their payloads in `heap`.
    pub fn append(
        &mut self,
        at: usize,
        kind: Kind,
        times_ns: &[i64],
        values: &[u64],
        heap: &[u8],
    ) -> (bool, Result<()>) {
        let (slot, arena) = self.slot_mut(at);
        let is_first = !slot.held;
        slot.held = true;
        let outcome = arena.append(slot, kind, times_ns, values, heap);
        (is_first, outcome)
    }

    /// As [`Self::append`], of samples of a batch that have side columns.
    pub fn append_sided(
        &mut self,
        at: usize,
        kind: Kind,
        columns: &Columns,
        samples: Range<usize>,
    ) -> (bool, Result<()>) {
        let (slot, arena) = self.slot_mut(at);
        let is_first = !slot.held;
        slot.held = true;
        let outcome = arena.append_sided(slot, kind, columns, samples);
        (is_first, outcome)
    }

    /// Whether the series may have samples in the range.
    pub fn overlaps(&self, at: usize, range: TimeRange) -> bool {
        self.slot(at).is_some_and(|slot| {
            // An empty slot begins behind its end, and so would meet a range over all of time.
            slot.min_ns <= slot.max_ns && slot.min_ns <= range.max_ns && range.min_ns <= slot.max_ns
        })
    }

    /// Runs of a series inside the range: ascending, without repeats, later arrivals in later runs.
    pub fn read(&self, at: usize, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
        if !self.overlaps(at, range) {
            return Ok(());
        }
        let Some(slot) = self.slot(at) else {
            return Ok(());
        };
        let is_whole = range.min_ns <= slot.min_ns && slot.max_ns <= range.max_ns;
        let chunks = self.arena.chunks(slot);
        for same_kind in chunks.chunk_by(|one, other| one.kind == other.kind) {
            let kind = same_kind[0].kind;
            let run = self.arena.run(kind, same_kind, range, is_whole)?;
            if !run.is_empty() {
                out.push(run);
            }
        }
        Ok(())
    }

    /// Takes samples of a series out; says how many. Their memory stays until the generation goes.
    pub fn delete(&mut self, at: usize, range: TimeRange) -> Result<usize> {
        if !self.overlaps(at, range) {
            return Ok(0);
        }
        let Some(slot) = self.slot(at).copied() else {
            return Ok(0);
        };
        let is_inside = |row: &Row| range.min_ns <= row.time_ns && row.time_ns <= range.max_ns;
        let mut kept: Vec<(u8, Row)> = Vec::new();
        let mut count = 0;
        for chunk in self.arena.chunks(&slot) {
            for row in self.arena.rows(&chunk) {
                if is_inside(row) {
                    count += 1;
                } else {
                    kept.push((chunk.kind, *row));
                }
            }
        }
        if count == 0 {
            return Ok(0);
        }
        let mut fresh = Slot {
            held: true,
            ..EMPTY_SLOT
        };
        for (kind, row) in kept {
            if fresh.used == fresh.capacity || fresh.kind != kind {
                self.arena.grow(&mut fresh, kind)?;
            }
            self.arena.put(fresh.chunk + 1 + u32::from(fresh.used), row);
            fresh.used += 1;
            fresh.min_ns = fresh.min_ns.min(row.time_ns);
            fresh.max_ns = fresh.max_ns.max(row.time_ns);
        }
        *self.slot_mut(at).0 = fresh;
        Ok(count)
    }

    /// Places of all series that were ever appended to.
    pub fn held(&self) -> impl Iterator<Item = usize> + '_ {
        self.pages.iter().enumerate().flat_map(|(page_at, page)| {
            let slots = page.iter().flat_map(|page| page.iter().enumerate());
            slots
                .filter(|(_, slot)| slot.held)
                .map(move |(at, _)| page_at * PAGE_SERIES + at)
        })
    }
}

/// What senders beside one another send stands a few places off.
const SHIFTS_PER_SAMPLE_MAX: usize = 8;

/// Sorts by time; at an equal time the later arrival stays.
fn settle(times_ns: &mut Vec<i64>, values: &mut Vec<u64>) {
    if !insert_in_order(times_ns, values) {
        let mut rows: Vec<(i64, u64)> = times_ns.drain(..).zip(values.drain(..)).collect();
        rows.sort_by_key(|(time_ns, _)| *time_ns);
        (*times_ns, *values) = rows.into_iter().unzip();
    }
    let mut kept = 0;
    for at in 0..times_ns.len() {
        if times_ns.get(at + 1) != Some(&times_ns[at]) {
            (times_ns[kept], values[kept]) = (times_ns[at], values[at]);
            kept += 1;
        }
    }
    times_ns.truncate(kept);
    values.truncate(kept);
}

/// Moves each sample before the later ones among those that came before it; gives up, with equal
/// times still as they came, where samples are far from their places.
fn insert_in_order(times_ns: &mut [i64], values: &mut [u64]) -> bool {
    let mut shifts_left = times_ns.len() * SHIFTS_PER_SAMPLE_MAX;
    for at in 1..times_ns.len() {
        let (time_ns, bits) = (times_ns[at], values[at]);
        let mut place = at;
        while place > 0 && times_ns[place - 1] > time_ns {
            (times_ns[place], values[place]) = (times_ns[place - 1], values[place - 1]);
            place -= 1;
        }
        (times_ns[place], values[place]) = (time_ns, bits);
        let Some(left) = shifts_left.checked_sub(at - place) else {
            return false;
        };
        shifts_left = left;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check(times_ns: &[i64]) {
        let values: Vec<u64> = (0..times_ns.len() as u64).collect();
        let model: BTreeMap<i64, u64> = times_ns.iter().copied().zip(values.clone()).collect();
        let (mut times_ns, mut values) = (times_ns.to_vec(), values);
        settle(&mut times_ns, &mut values);
        let settled: Vec<(i64, u64)> = times_ns.into_iter().zip(values).collect();
        assert_eq!(settled, model.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn samples_far_from_their_places_are_settled_too() {
        let descending: Vec<i64> = (0..500).rev().map(|time_ns| time_ns / 2).collect();
        let mut times_ns = descending.clone();
        assert!(!insert_in_order(&mut times_ns, &mut vec![0; 500]));
        check(&descending);
    }

    proptest! {
        #[test]
        fn the_later_arrival_stays(
            times_ns in prop::collection::vec(-20i64..20, 0..60),
            near in prop::collection::vec(0i64..4, 0..200),
        ) {
            check(&times_ns);
            let near: Vec<i64> = near.iter().zip(0..).map(|(off, at)| at + off).collect();
            check(&near);
        }
    }
}
