// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the fields of one TOML table: a wrong type, an unknown key or a value out of range becomes
//! a [`Mistakes`] entry, and reading goes on.

use super::mistakes::{Mistakes, closest};
use std::ops::{Range, RangeInclusive};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the source.
    pub span: Range<usize>,
}

/// One table and what it is called in messages.
pub struct Fields<'t, 'i> {
    table: &'t DeTable<'i>,
    what: &'static str,
    span: Range<usize>,
}

impl<'t, 'i> Fields<'t, 'i> {
    /// The fields of `table`, called `what` in messages; a key that is not `known` is a mistake.
    pub fn new(
        table: &'t DeTable<'i>,
        span: Range<usize>,
        what: &'static str,
        known: &[&str],
        mistakes: &mut Mistakes<'_>,
    ) -> Self {
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let hint = match closest(name, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("{what} takes {}", known.join(", ")),
            };
            mistakes.add(key.span(), format!("unknown key `{name}`: {hint}"));
        }
        Self { table, what, span }
    }

    /// Where the table stands.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.table.get(key)
    }

    fn wrong(&self, at: Range<usize>, key: &str, right: &str, mistakes: &mut Mistakes<'_>) {
        mistakes.add(at, format!("`{key}` of {} must be {right}", self.what));
    }

    /// An integer within `range`, of `unit`.
    pub fn integer(
        &self,
        key: &str,
        range: RangeInclusive<i64>,
        unit: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<At<i64>> {
        let found = self.get(key)?;
        let value = match found.get_ref() {
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        match value.filter(|value| range.contains(value)) {
            Some(value) => Some(At { value, span: found.span() }),
            None => {
                let right = format!("a number from {} to {}{unit}", range.start(), range.end());
                self.wrong(found.span(), key, &right, mistakes);
                None
            }
        }
    }

    /// True or false.
    pub fn flag(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<At<bool>> {
        let found = self.get(key)?;
        match found.get_ref() {
            DeValue::Boolean(value) => Some(At { value: *value, span: found.span() }),
            _ => {
                self.wrong(found.span(), key, "true or false", mistakes);
                None
            }
        }
    }

    /// A text; `right` describes what it should be.
    pub fn text(&self, key: &str, right: &str, mistakes: &mut Mistakes<'_>) -> Option<At<String>> {
        let found = self.get(key)?;
        match found.get_ref() {
            DeValue::String(text) => {
                Some(At { value: text.clone().into_owned(), span: found.span() })
            }
            _ => {
                self.wrong(found.span(), key, right, mistakes);
                None
            }
        }
    }

    /// A list of texts; `right` describes what it should be.
    pub fn texts(
        &self,
        key: &str,
        right: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<At<Vec<At<String>>>> {
        let found = self.get(key)?;
        let DeValue::Array(items) = found.get_ref() else {
            self.wrong(found.span(), key, right, mistakes);
            return None;
        };
        let mut value = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => {
                    value.push(At { value: text.clone().into_owned(), span: item.span() });
                }
                _ => self.wrong(item.span(), key, right, mistakes),
            }
        }
        Some(At { value, span: found.span() })
    }

    /// A table under this key; `right` shows how it is written.
    pub fn table(
        &self,
        key: &str,
        right: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<(&'t DeTable<'i>, Range<usize>)> {
        let found = self.get(key)?;
        match found.get_ref() {
            DeValue::Table(table) => Some((table, found.span())),
            _ => {
                self.wrong(found.span(), key, right, mistakes);
                None
            }
        }
    }

    /// The tables of a list; `right` shows how it is written.
    pub fn tables(
        &self,
        key: &str,
        right: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Vec<(&'t DeTable<'i>, Range<usize>)> {
        let Some(found) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = found.get_ref() else {
            self.wrong(found.span(), key, right, mistakes);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((table, item.span())),
                _ => self.wrong(item.span(), key, right, mistakes),
            }
        }
        tables
    }

    /// Notes that `key` is missing; `right` shows how it is written.
    pub fn missing(&self, key: &str, right: &str, mistakes: &mut Mistakes<'_>) {
        if self.get(key).is_none() {
            mistakes.add(self.span(), format!("{} needs `{key}`: {right}", self.what));
        }
    }
}
