//! What series of the live index are called: names, fields and the forms `PromQL` knows.
//!
//! A series has one posting for its name and field together; these dictionaries lead from each
//! form to the numbers of such pairs. There are as many entries as kinds of series, not series.

use crate::series::legacy_name;
use hashbrown::HashMap;

#[derive(Debug)]
enum Numbers {
    One(u32),
    Many(Vec<u32>),
}

impl Numbers {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(number) => std::slice::from_ref(number),
            Self::Many(numbers) => numbers,
        }
    }
}

type Words = HashMap<Box<str>, Numbers>;

/// What an entry of a dictionary takes: key, numbers, a control byte, slack, the text's allocation.
const WORD_BYTES: usize = 72;

fn add(words: &mut Words, word: &str, number: u32) -> usize {
    match words.get_mut(word) {
        None => {
            words.insert(word.into(), Numbers::One(number));
            return WORD_BYTES + word.len();
        }
        Some(Numbers::Many(numbers)) => numbers.push(number),
        Some(numbers) => *numbers = Numbers::Many([numbers.as_slice(), &[number]].concat()),
    }
    0
}

fn take(words: &mut Words, word: &str, number: u32) -> usize {
    let left = match words.get_mut(word) {
        Some(Numbers::Many(numbers)) => {
            numbers.retain(|&other| other != number);
            numbers.len()
        }
        Some(Numbers::One(_)) => 0,
        None => return 0,
    };
    if left > 0 {
        return 0;
    }
    words.remove(word);
    if words.len() < words.capacity() / 4 {
        words.shrink_to_fit();
    }
    WORD_BYTES + word.len()
}

fn listed<'a>(words: &'a Words, word: &str) -> &'a [u32] {
    words.get(word).map_or(&[], Numbers::as_slice)
}

fn joined(name: &str, field: &str) -> String {
    format!("{name}_{field}")
}

/// A name and field leads to a number; each form of them leads to all its numbers.
#[derive(Debug, Default)]
pub struct LiveNames {
    /// Names of series without a field, which are their `PromQL` names as well.
    plain: Words,
    /// Names of series with a field.
    names: Words,
    fields: Words,
    /// `PromQL` names of series with a field.
    joined: Words,
    /// Legacy forms where they differ: matched, never listed.
    legacy: Words,
}

/// The dictionaries that say what a form may be.
type Dictionaries<'a> = [Option<&'a Words>; 2];

impl LiveNames {
    /// Adds a number that is not there; says how many bytes that took.
    pub fn insert(&mut self, name: &str, field: &str, number: u32) -> usize {
        self.change(name, field, number, add)
    }

    /// Takes a number out; says how many bytes that gave back.
    pub fn remove(&mut self, name: &str, field: &str, number: u32) -> usize {
        self.change(name, field, number, take)
    }

    fn change(
        &mut self,
        name: &str,
        field: &str,
        number: u32,
        change: fn(&mut Words, &str, u32) -> usize,
    ) -> usize {
        let mut bytes = 0;
        let exact = if field.is_empty() {
            bytes += change(&mut self.plain, name, number);
            name.to_owned()
        } else {
            let exact = joined(name, field);
            bytes += change(&mut self.names, name, number);
            bytes += change(&mut self.fields, field, number);
            bytes += change(&mut self.joined, &exact, number);
            exact
        };
        let legacy = legacy_name(&exact);
        if legacy != exact {
            bytes += change(&mut self.legacy, &legacy, number);
        }
        bytes
    }

    /// Numbers whose `PromQL` name, exact or legacy, is this.
    pub fn of_promql_name(&self, name: &str) -> Vec<u32> {
        let words = [&self.plain, &self.joined, &self.legacy];
        words.map(|words| listed(words, name)).concat()
    }

    pub fn of_name(&self, name: &str) -> Vec<u32> {
        [listed(&self.plain, name), listed(&self.names, name)].concat()
    }

    pub fn of_field(&self, field: &str) -> Vec<u32> {
        listed(&self.fields, field).to_vec()
    }

    /// Calls `visit` with every exact `PromQL` name.
    pub fn each_promql_name(&self, visit: impl FnMut(&str, &[u32])) {
        each([Some(&self.plain), Some(&self.joined)], visit);
    }

    pub fn each_legacy_name(&self, visit: impl FnMut(&str, &[u32])) {
        each([Some(&self.legacy), None], visit);
    }

    /// A name may be visited twice, each time with other numbers.
    pub fn each_name(&self, visit: impl FnMut(&str, &[u32])) {
        each([Some(&self.plain), Some(&self.names)], visit);
    }

    pub fn each_field(&self, visit: impl FnMut(&str, &[u32])) {
        each([Some(&self.fields), None], visit);
    }
}

fn each(dictionaries: Dictionaries<'_>, mut visit: impl FnMut(&str, &[u32])) {
    for (word, numbers) in dictionaries.into_iter().flatten().flatten() {
        visit(word, numbers.as_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_leads_to_its_numbers() {
        let mut names = LiveNames::default();
        let mut taken = 0;
        let pairs = [
            ("cpu", "user"),
            ("cpu_user", ""),
            ("cpu", ""),
            ("a.b", "c"),
            ("cpu", "idle"),
        ];
        for (number, (name, field)) in pairs.into_iter().enumerate() {
            taken += names.insert(name, field, number as u32);
        }
        assert_eq!(names.of_promql_name("cpu_user"), [1, 0]);
        assert_eq!(names.of_name("cpu"), [2, 0, 4]);
        assert_eq!(names.of_field("user"), [0]);
        assert_eq!(names.of_promql_name("a_b_c"), [3]);
        let mut exact = Vec::new();
        names.each_promql_name(|name, _| exact.push(name.to_owned()));
        exact.sort_unstable();
        assert_eq!(exact, ["a.b_c", "cpu", "cpu_idle", "cpu_user", "cpu_user"]);
        for (number, (name, field)) in pairs.into_iter().enumerate() {
            taken -= names.remove(name, field, number as u32);
        }
        assert_eq!(taken, 0);
        assert!(names.of_promql_name("cpu").is_empty());
    }
}
