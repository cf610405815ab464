//! The series of one text of the live index: a few as a list, many as a bitmap.

use roaring::RoaringBitmap;
use std::borrow::Cow;

/// Most texts of wide labels belong to a few series, and a bitmap takes 150 bytes before its first.
const FEW_MAX: usize = 64;

#[derive(Debug)]
pub enum Postings {
    One(u32),
    /// In rising order.
    Few(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    /// None are none yet: the first insertion makes them one.
    pub const EMPTY: Self = Self::Few(Vec::new());

    pub fn insert(&mut self, reference: u32) {
        match self {
            Self::One(only) if *only == reference => {}
            Self::One(only) => {
                let (low, high) = (reference.min(*only), reference.max(*only));
                *self = Self::Few(vec![low, high]);
            }
            Self::Few(few) if few.is_empty() => *self = Self::One(reference),
            Self::Few(few) => {
                if few.last().is_some_and(|&last| last < reference) {
                    few.push(reference);
                } else if let Err(at) = few.binary_search(&reference) {
                    few.insert(at, reference);
                }
                if few.len() > FEW_MAX {
                    *self = Self::Many(Box::new(few.iter().copied().collect()));
                }
            }
            Self::Many(many) => {
                many.insert(reference);
            }
        }
    }

    /// Says whether none is left.
    pub fn remove(&mut self, reference: u32) -> bool {
        match self {
            Self::One(only) => *only == reference,
            Self::Few(few) => {
                if let Ok(at) = few.binary_search(&reference) {
                    few.remove(at);
                }
                if let &[only] = &few[..] {
                    *self = Self::One(only);
                    return false;
                }
                few.is_empty()
            }
            Self::Many(many) => {
                many.remove(reference);
                // Unlike their number, one of the first is found without walking all of them.
                if many.select(FEW_MAX as u32 / 2).is_none() {
                    *self = Self::Few(many.iter().collect());
                }
                false
            }
        }
    }

    pub fn any(&self, mut is_wanted: impl FnMut(u32) -> bool) -> bool {
        match self {
            Self::One(only) => is_wanted(*only),
            Self::Few(few) => few.iter().any(|&one| is_wanted(one)),
            Self::Many(many) => many.iter().any(is_wanted),
        }
    }

    pub fn bitmap(&self) -> Cow<'_, RoaringBitmap> {
        match self {
            Self::One(only) => Cow::Owned([*only].into_iter().collect()),
            Self::Few(few) => Cow::Owned(few.iter().copied().collect()),
            Self::Many(many) => Cow::Borrowed(many),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn they_are_a_set(steps in prop::collection::vec((0u32..200, 0u8..4), 0..600)) {
            let mut postings = Postings::EMPTY;
            let mut model = BTreeSet::new();
            for (reference, step) in steps {
                if step > 0 {
                    postings.insert(reference);
                    model.insert(reference);
                } else if model.remove(&reference) && postings.remove(reference) {
                    prop_assert!(model.is_empty());
                    postings = Postings::EMPTY;
                }
                prop_assert_eq!(postings.any(|one| one == reference), model.contains(&reference));
            }
            let found: Vec<u32> = postings.bitmap().iter().collect();
            prop_assert_eq!(found, model.into_iter().collect::<Vec<u32>>());
        }
    }
}
