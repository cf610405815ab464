//! How long a tenant keeps what: rules by selector, of which the first that matches a series holds.
//!
//! `store` turns a tenant's policy into times once; flush, compaction, roll-ups and snapshots ask
//! here for the times of one series. A rule's samples are kept from its `raw_from_ns` on, and its
//! buckets of a resolution from the time that stands beside it.

use crate::selector::{Matcher, matches_all};
use crate::series::SeriesView;
use crate::source::{Delete, RETENTION_OFFSET, TimeRange};

#[derive(Debug, Clone, PartialEq)]
pub struct KeepRule {
    /// None match every series.
    pub matchers: Vec<Matcher>,
    pub raw_from_ns: i64,
    /// (resolution, from when on), by rising resolution.
    pub coarse_from_ns: Vec<(i64, i64)>,
}

impl KeepRule {
    /// A resolution that the rule does not name is kept as long as the samples.
    pub fn coarse_from_ns(&self, resolution_ns: i64) -> i64 {
        self.coarse_from_ns
            .iter()
            .find(|(named_ns, _)| *named_ns == resolution_ns)
            .map_or(self.raw_from_ns, |&(_, from_ns)| from_ns)
    }
}

/// One tenant's rules in their order; what no rule matches is kept for ever.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Keep {
    pub rules: Vec<KeepRule>,
}

impl Keep {
    /// All series alike.
    pub fn all_from(raw_from_ns: i64) -> Self {
        let rule = KeepRule {
            matchers: Vec::new(),
            raw_from_ns,
            coarse_from_ns: Vec::new(),
        };
        Self { rules: vec![rule] }
    }

    pub fn rule_of(&self, series: &SeriesView<'_>) -> Option<&KeepRule> {
        self.rules
            .iter()
            .find(|rule| matches_all(&rule.matchers, series))
    }

    pub fn raw_from_ns(&self, series: &SeriesView<'_>) -> i64 {
        self.rule_of(series)
            .map_or(i64::MIN, |rule| rule.raw_from_ns)
    }

    /// Whether some rule keeps buckets of this resolution: then all series are rolled up to it.
    pub fn names(&self, resolution_ns: i64) -> bool {
        let is_it = |named: &(i64, i64)| named.0 == resolution_ns;
        self.rules
            .iter()
            .any(|rule| rule.coarse_from_ns.iter().any(is_it))
    }

    /// Before this time no series of the tenant keeps a sample.
    pub fn raw_floor_ns(&self) -> i64 {
        let catches_all = |rule: &KeepRule| rule.matchers.is_empty();
        if !self.rules.iter().any(catches_all) {
            return i64::MIN;
        }
        let floor = self.rules.iter().map(|rule| rule.raw_from_ns).min();
        floor.unwrap_or(i64::MIN)
    }

    /// What no longer counts, as deletes of one tenant: each hides what one rule lets go.
    pub fn expired(&self, tenant: &str) -> Vec<Delete> {
        let mut before: Vec<Vec<Matcher>> = Vec::new();
        let mut expired = Vec::new();
        for rule in &self.rules {
            if let Some(max_ns) = rule.raw_from_ns.checked_sub(1) {
                expired.push(Delete {
                    offset: RETENTION_OFFSET,
                    tenant: tenant.to_owned(),
                    matchers: rule.matchers.clone(),
                    unless: before.clone(),
                    range: TimeRange {
                        min_ns: i64::MIN,
                        max_ns,
                    },
                });
            }
            before.push(rule.matchers.clone());
        }
        // Most tenants have one time for all: then no series needs to be looked at.
        let floor_ns = self.raw_floor_ns();
        if self.rules.iter().all(|rule| rule.raw_from_ns == floor_ns) {
            expired.retain(|delete| delete.matchers.is_empty());
            expired.truncate(1);
            for delete in &mut expired {
                delete.unless.clear();
            }
        }
        expired
    }
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::{Keep, KeepRule};
    use crate::error::Result;
    use crate::selector::Matcher;
    use std::collections::BTreeMap;

    /// (matchers, `raw_from_ns`, [(resolution, from)]), as a rule crosses from Python.
    pub type KeepRow = (Vec<(String, String, String)>, i64, Vec<(i64, i64)>);

    pub fn keep_from_rows(rows: Vec<KeepRow>) -> Result<Keep> {
        let rules = rows
            .into_iter()
            .map(|(matchers, raw_from_ns, coarse_from_ns)| {
                Ok(KeepRule {
                    matchers: Matcher::parse_all(&matchers)?,
                    raw_from_ns,
                    coarse_from_ns,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Keep { rules })
    }

    pub fn keeps_from_rows(rows: BTreeMap<String, Vec<KeepRow>>) -> Result<BTreeMap<String, Keep>> {
        rows.into_iter()
            .map(|(tenant, rows)| Ok((tenant, keep_from_rows(rows)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::canonical;

    fn rule(job: Option<&str>, raw_from_ns: i64) -> KeepRule {
        let triples: Vec<_> = job
            .map(|job| ("job".to_owned(), "=".to_owned(), job.to_owned()))
            .into_iter()
            .collect();
        KeepRule {
            matchers: Matcher::parse_all(&triples).unwrap(),
            raw_from_ns,
            coarse_from_ns: vec![(300, raw_from_ns - 100)],
        }
    }

    #[test]
    fn the_first_rule_that_matches_holds() {
        let keep = Keep {
            rules: vec![rule(Some("a"), 50), rule(Some("a"), 70), rule(None, 20)],
        };
        for (job, wanted_ns) in [("a", 50), ("b", 20)] {
            let bytes = canonical("m", "", &mut vec![("job", job)]).unwrap();
            let series = SeriesView::parse(&bytes).unwrap();
            assert_eq!(keep.raw_from_ns(&series), wanted_ns);
        }
        assert_eq!(keep.raw_floor_ns(), 20);
    }

    #[test]
    fn without_a_rule_for_all_something_is_kept_for_ever() {
        let keep = Keep {
            rules: vec![rule(Some("a"), 50)],
        };
        assert_eq!(keep.raw_floor_ns(), i64::MIN);
        assert_eq!(Keep::default().raw_floor_ns(), i64::MIN);
    }

    #[test]
    fn what_a_rule_lets_go_is_hidden_of_its_series_only() {
        let keep = Keep {
            rules: vec![rule(Some("a"), 50), rule(None, 20)],
        };
        let expired = keep.expired("t");
        let bounds = |job: &str| {
            let bytes = canonical("m", "", &mut vec![("job", job)]).unwrap();
            let series = SeriesView::parse(&bytes).unwrap();
            let hides: Vec<_> = expired.iter().filter(|one| one.hides(&series)).collect();
            hides.iter().map(|one| one.range.max_ns).collect::<Vec<_>>()
        };
        assert_eq!((bounds("a"), bounds("b")), (vec![49], vec![19]));
        let all = Keep::all_from(7).expired("t");
        assert!(all.len() == 1 && all[0].is_for_all());
        assert_eq!(Keep::all_from(i64::MIN).expired("t"), []);
    }

    #[test]
    fn a_resolution_that_is_not_named_is_kept_like_the_samples() {
        let rule = rule(None, 500);
        assert_eq!(rule.coarse_from_ns(300), 400);
        assert_eq!(rule.coarse_from_ns(3600), 500);
    }
}
