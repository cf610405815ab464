//! The tenants of a block, found where they stand in the file.
//!
//! A store of a hundred thousand tenants has as many rows in each block: only where every sixteenth
//! begins is held in memory. Opening a block reads all of them once, and refuses disorder.

use crate::block_layout::{TenantRow, get_tenant};
use crate::error::{CoreError, Result};
use crate::section::Section;
use std::cmp::Ordering;

const GROUP_ROWS: usize = 16;

/// Where the groups of rows begin in the section, and the end of the last.
#[derive(Debug)]
pub struct TenantRows {
    bounds: Box<[u32]>,
    len: usize,
}

impl TenantRows {
    /// The counts are the footer's.
    pub fn open(
        section: &Section,
        file: &[u8],
        tenant_count: u32,
        series_count: u32,
    ) -> Result<Self> {
        let bytes = section.all(file)?;
        let disorder = |cause: &str| CoreError::Corrupt(format!("section tenants: {cause}"));
        if u32::try_from(bytes.len()).is_err() {
            return Err(disorder("it is larger than 4 GiB"));
        }
        let mut bounds = Vec::new();
        let (mut at, mut len, mut series) = (0, 0, 0u32);
        let mut before: Option<String> = None;
        while at < bytes.len() {
            if len % GROUP_ROWS == 0 {
                bounds.push(at as u32);
            }
            let row = get_tenant(bytes, &mut at)?;
            let follows = before.as_ref().is_none_or(|before| *before < row.tenant);
            if !follows || row.series_first != series {
                return Err(disorder("they are out of order"));
            }
            series = series
                .checked_add(row.series_count)
                .ok_or_else(|| disorder("they have too many series"))?;
            before = Some(row.tenant);
            len += 1;
        }
        if series != series_count || len != tenant_count as usize {
            return Err(disorder("they do not fit the footer"));
        }
        bounds.push(at as u32);
        Ok(Self {
            bounds: bounds.into(),
            len,
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn find(&self, section: &Section, file: &[u8], tenant: &str) -> Result<Option<TenantRow>> {
        let group_count = self.bounds.len() - 1;
        let (mut low, mut high) = (0, group_count);
        while low < high {
            let middle = usize::midpoint(low, high);
            let (bytes, mut at) = (self.group(section, file, middle)?, 0);
            if get_tenant(bytes, &mut at)?.tenant.as_str() <= tenant {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(group) = low.checked_sub(1) else {
            return Ok(None);
        };
        let (bytes, mut at) = (self.group(section, file, group)?, 0);
        while at < bytes.len() {
            let row = get_tenant(bytes, &mut at)?;
            match row.tenant.as_str().cmp(tenant) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(row)),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// All of them, in order of their tenants.
    pub fn rows(&self, section: &Section, file: &[u8]) -> Result<Vec<TenantRow>> {
        let (bytes, mut at) = (section.all(file)?, 0);
        (0..self.len).map(|_| get_tenant(bytes, &mut at)).collect()
    }

    fn group<'a>(&self, section: &Section, file: &'a [u8], group: usize) -> Result<&'a [u8]> {
        let (start, end) = (self.bounds[group] as usize, self.bounds[group + 1] as usize);
        section.slice(file, start, end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_layout::put_tenant;
    use crate::section::{SectionEntry, SectionKind, unit_checksums};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn section_of(names: &BTreeSet<String>) -> (Vec<u8>, Section) {
        let mut file = Vec::new();
        for (at, tenant) in names.iter().enumerate() {
            let row = TenantRow {
                tenant: tenant.clone(),
                series_first: at as u32,
                series_count: 1,
                ..TenantRow::default()
            };
            put_tenant(&mut file, &row);
        }
        let sums = unit_checksums(&file);
        let entry = SectionEntry {
            kind: SectionKind::Tenants as u16,
            offset: 0,
            length: file.len() as u64,
            checksum: crc32c::crc32c(&sums),
        };
        file.extend(sums);
        let section = Section::new(SectionKind::Tenants, entry, file.len()).unwrap();
        (file, section)
    }

    proptest! {
        #[test]
        fn every_tenant_is_found_and_no_other(
            names in proptest::collection::btree_set("[a-c]{1,4}", 0..80),
            others in proptest::collection::vec("[a-d]{0,4}", 20),
        ) {
            let (file, section) = section_of(&names);
            let count = names.len() as u32;
            let rows = TenantRows::open(&section, &file, count, count).unwrap();
            prop_assert_eq!((rows.len(), rows.is_empty()), (names.len(), names.is_empty()));
            let all = rows.rows(&section, &file).unwrap();
            prop_assert!(all.iter().map(|row| &row.tenant).eq(&names));
            for name in names.iter().chain(&others) {
                let found = rows.find(&section, &file, name).unwrap();
                prop_assert_eq!(found, all.iter().find(|row| row.tenant == *name).cloned());
            }
        }
    }
}
