//! Duplicates: which two profiles may be one person, and why.
//!
//! A [`Portrait`] holds what of a person is compared, in the form it is compared in. [`Portrait::keys`] says in which
//! *blocks* a person stands: only people who share a block are compared, so that nobody is held against everybody. There
//! are several kinds of blocks, so that a slip in one field or two does not hide a pair. [`compare`] adds up the evidence
//! (Fellegi and Sunter, 1969): each field gives `log2(m / u)` points, where `m` is how often one person's two profiles
//! agree to this degree, and `u` how often two strangers do. How often strangers agree is read off the workspace's own
//! [`Frequencies`]: a common surname counts less than a rare one.

mod frequency;
mod portrait;
mod score;
#[cfg(test)]
mod tests;

pub use frequency::{Census, Frequencies};
pub use portrait::{Portrait, is_telling};
pub use score::{Judgement, Reason, compare, named_together, score};

/// Points from which a pair is suggested, unless the workspace says otherwise. Twenty points: a million to one.
pub const DEFAULT_THRESHOLD: i64 = 20;
/// What a workspace may set.
pub const THRESHOLDS: std::ops::RangeInclusive<i64> = 10..=40;

/// Points are counted in tenths: whole numbers add up to the same sum in any order.
pub const TENTHS: i64 = 10;

/// Whether a change of a person can matter to who is like them; whether it does, their portraits tell. Cheap: it is asked
/// of everybody who is written.
pub fn is_relevant(before: &crate::profile::Profile, after: &crate::profile::Profile) -> bool {
    before.identities != after.identities
        || before.name != after.name
        || before.first_name != after.first_name
        || before.last_name != after.last_name
        || before.company != after.company
        || before.city != after.city
        || before.country != after.country
        || before.attributes != after.attributes
}
