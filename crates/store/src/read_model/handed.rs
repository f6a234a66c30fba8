//! What the door wrote, handed to the read model: it need not read back from the database what this process has in hand.
//!
//! A group of writes takes the next numbers of the feed, so the model that has taken in everything before them is as the
//! group found it. What other instances wrote in between is read, and so is everything that was not handed over: nothing
//! depends on this, it only saves time.

use std::{collections::BTreeMap, sync::Arc};

use people_domain::profile::Profile;

/// States waiting to be taken in, at most: whoever falls further behind reads.
const HELD: usize = 4_096;

/// Somebody before a group, unless they are new, and after it.
pub(crate) type Turned = (Option<Arc<Profile>>, Arc<Profile>);

/// What a group of writes did to people.
#[derive(Debug)]
pub(crate) struct Written {
    /// The numbers of the feed the group took: from the first one after this…
    pub(crate) after: i64,
    /// … up to this.
    pub(crate) to: i64,
    pub(crate) people: Vec<Turned>,
}

/// Groups that wait, by the number they follow.
#[derive(Debug, Default)]
pub(super) struct Handed {
    groups: BTreeMap<i64, Written>,
    people: usize,
}

/// How to go on from a number.
#[derive(Debug)]
pub(super) enum Next {
    Take(Written),
    /// Nothing was handed over here, but there may be after this number.
    Read {
        to: Option<i64>,
    },
}

impl Handed {
    pub(super) fn put(&mut self, written: Written) {
        if self.people + written.people.len() > HELD {
            return;
        }
        self.people += written.people.len();
        if let Some(former) = self.groups.insert(written.after, written) {
            self.people -= former.people.len();
        }
    }

    pub(super) fn next(&mut self, from: i64) -> Next {
        while let Some(first) = self.groups.first_entry().filter(|first| *first.key() <= from) {
            let written = first.remove();
            self.people -= written.people.len();
            if written.after == from {
                return Next::Take(written);
            }
        }
        Next::Read { to: self.groups.first_key_value().map(|(after, _)| *after) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use people_domain::{Timestamp, id::ProfileId, profile::Profile};
    use uuid::Uuid;

    use super::{HELD, Handed, Next, Written};

    fn written(after: i64, to: i64, people: usize) -> Written {
        let person = Arc::new(Profile::empty(ProfileId(Uuid::nil()), Timestamp::MIN));
        Written { after, to, people: vec![(None, person); people] }
    }

    #[test]
    fn groups_are_taken_in_their_order_and_gaps_are_read() {
        let mut handed = Handed::default();
        assert!(matches!(handed.next(0), Next::Read { to: None }));
        for (after, to) in [(10, 15), (0, 4), (4, 7), (15, 16)] {
            handed.put(written(after, to, 1));
        }
        assert!(matches!(handed.next(0), Next::Take(Written { to: 4, .. })));
        assert!(matches!(handed.next(4), Next::Take(Written { to: 7, .. })));
        assert!(matches!(handed.next(7), Next::Read { to: Some(10) }));
        // Read past one of them: it is old, and so is whatever lies before.
        assert!(matches!(handed.next(12), Next::Read { to: Some(15) }));
        assert!(matches!(handed.next(15), Next::Take(Written { to: 16, .. })));
        assert_eq!((handed.groups.len(), handed.people), (0, 0));
    }

    #[test]
    fn who_falls_behind_reads() {
        let mut handed = Handed::default();
        handed.put(written(0, 9, HELD));
        handed.put(written(9, 10, 1));
        assert!(matches!(handed.next(0), Next::Take(_)));
        assert!(matches!(handed.next(9), Next::Read { to: None }));
        handed.put(written(9, 10, 1));
        assert!(matches!(handed.next(9), Next::Take(_)));
    }
}
