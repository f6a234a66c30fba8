//! The generator: an endless, deterministic list of people who look like the customers of a worldwide business.
//!
//! Person `i` depends on the seed and `i` alone, so a directory of 1,000 is the beginning of one of a million, and a load
//! can make any of them again at any time. Shares are skewed as in life: few very common names, companies and labels,
//! a long tail of rare ones. E-mails and external ids never repeat; telephone numbers not within eight million people.

mod names;
mod places;

use std::sync::LazyLock;

use deunicode::deunicode;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde::Serialize;

use self::{
    names::Names,
    places::{COUNTRIES, Country},
};

/// Labels and how many of 10,000 people carry each.
pub const LABELS: [(&str, u32); 12] = [
    ("customer", 1_900),
    ("lead", 1_200),
    ("newsletter", 800),
    ("trial", 600),
    ("churned", 400),
    ("partner", 200),
    ("vip", 100),
    ("wholesale", 50),
    ("beta", 30),
    ("press", 20),
    ("investor", 10),
    ("blocked", 5),
];

/// Custom attributes of the generated people, with the property type each is defined as.
pub const ATTRIBUTES: [(&str, &str); 5] =
    [("plan", "text"), ("seats", "number"), ("trial_ends", "datetime"), ("newsletter", "boolean"), ("interests", "text_list")];

const INTERESTS: [&str; 16] = [
    "travel",
    "music",
    "football",
    "cooking",
    "photography",
    "gardening",
    "cycling",
    "cinema",
    "chess",
    "running",
    "yoga",
    "opera",
    "sailing",
    "astronomy",
    "bookbinding",
    "falconry",
];
const JOB_TITLES: [&str; 22] = [
    "Manager",
    "Sales Representative",
    "Software Engineer",
    "Consultant",
    "Director",
    "Accountant",
    "Owner",
    "Assistant",
    "Designer",
    "Teacher",
    "Buyer",
    "Head of Marketing",
    "Nurse",
    "Architect",
    "CEO",
    "CTO",
    "Data Analyst",
    "Électricien",
    "Geschäftsführerin",
    "Editor-in-Chief",
    "Chief of Staff",
    "Beekeeper",
];
const COMPANY_STEMS: [&str; 60] = [
    "Acme",
    "Global",
    "Northwind",
    "Blue Sky",
    "Evergreen",
    "Silver",
    "Red Fox",
    "Summit",
    "Harbour",
    "Bright",
    "Atlas",
    "Pioneer",
    "Quantum",
    "Vertex",
    "Nova",
    "Orion",
    "Delta",
    "Phoenix",
    "Horizon",
    "Sterling",
    "Granite",
    "Crystal",
    "Iron Bridge",
    "Golden Gate",
    "Cedar",
    "Falcon",
    "Lighthouse",
    "Meridian",
    "Zenith",
    "Aurora",
    "Castle",
    "Kingfisher",
    "Riverside",
    "Monarch",
    "Compass",
    "Beacon",
    "Analytical",
    "Copper",
    "Juniper",
    "Saffron",
    "Maple",
    "Tundra",
    "Andes",
    "Baltic",
    "Sakura",
    "Ganges",
    "Sahara",
    "Fjord",
    "Alpen",
    "Città",
    "Señorial",
    "Øresund",
    "Łódka",
    "Île",
    "Großhaus",
    "Hélios",
    "Ñandú",
    "Škoda & Syn",
    "Yıldız",
    "Ægir",
];
const COMPANY_KINDS: [&str; 30] = [
    "Systems",
    "Group",
    "Consulting",
    "Foods",
    "Logistics",
    "Media",
    "Partners",
    "Industries",
    "Software",
    "Energy",
    "Retail",
    "Health",
    "Engines",
    "Travel",
    "Capital",
    "Textiles",
    "Motors",
    "Design",
    "Pharma",
    "Education",
    "Robotics",
    "Insurance",
    "Farms",
    "Studios",
    "Security",
    "Mining",
    "Optics",
    "Toys",
    "Brewery",
    "Shipyards",
];
const WORLD_MAIL: [&str; 8] =
    ["gmail.com", "outlook.com", "hotmail.com", "icloud.com", "yahoo.com", "proton.me", "fastmail.com", "hey.com"];

/// One person, in the shape of a create request of the API. Absent fields are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Person {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    pub name: String,
    pub first_name: &'static str,
    pub last_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_title: Option<&'static str>,
    /// ISO 3166-1 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<&'static str>,
    /// BCP 47.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<&'static str>,
    /// IANA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<&'static str>,
    pub attributes: Attributes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<Consent>,
}

/// Custom attributes: one of each type that matters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seats: Option<u32>,
    /// RFC 3339, UTC, a midnight of 2026.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_ends: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newsletter: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interests: Vec<&'static str>,
}

/// A decision about one channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Consent {
    pub channel: &'static str,
    pub status: &'static str,
    /// RFC 3339, UTC, between 2021 and 2024.
    pub occurred_at: String,
}

/// Makes person `index` of the list that `seed` names.
pub fn person(seed: u64, index: u64) -> Person {
    let mut dice = Dice::of(seed, index);
    let country = dice.country();
    let names = dice.evenly(country.names);
    let (first_name, first_latin) = *dice.skewed(names.first);
    let (last_name, last_latin) = *dice.skewed(names.last);
    let company = dice.chance(6_500).then(|| dice.company());

    let (mut email, phone, external_id) = (
        dice.chance(8_800)
            .then(|| dice.email(index, country, &latin(first_name, first_latin), &latin(last_name, last_latin), company.as_deref())),
        dice.chance(7_200).then(|| dice.phone(index, country)),
        dice.chance(6_000).then(|| dice.external_id(index)),
    );
    if email.is_none() && phone.is_none() && external_id.is_none() {
        email = Some(dice.email(index, country, &latin(first_name, first_latin), &latin(last_name, last_latin), company.as_deref()));
    }
    let (city, timezone) = *dice.skewed(country.cities);

    Person {
        email,
        phone,
        external_id,
        name: full_name(names, first_name, last_name),
        first_name,
        last_name,
        company,
        job_title: dice.chance(5_500).then(|| *dice.skewed(&JOB_TITLES)),
        country: dice.chance(9_200).then_some(country.code),
        city: dice.chance(8_000).then_some(city),
        language: dice.chance(8_500).then(|| *dice.evenly(country.languages)),
        timezone: dice.chance(7_000).then_some(timezone),
        attributes: dice.attributes(),
        labels: LABELS.iter().filter(|(_, share)| dice.chance(*share)).map(|(label, _)| *label).collect(),
        consents: dice.consents(),
    }
}

fn full_name(names: &Names, first: &str, last: &str) -> String {
    if names.family_first { format!("{last}{first}") } else { format!("{first} {last}") }
}

/// A name as it stands in an e-mail address: `a`–`z` only.
fn latin(name: &str, spelled: &str) -> String {
    let text = if spelled.is_empty() { deunicode(name) } else { spelled.to_owned() };
    text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect()
}

/// Randomness of one person. Only whole numbers, and no distribution of a library, so the list stays the same when
/// libraries and machines change.
struct Dice(ChaCha8Rng);

impl Dice {
    fn of(seed: u64, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Evenly from 0 to below `n`.
    fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// True for `share` of 10,000.
    fn chance(&mut self, share: u32) -> bool {
        self.below(10_000) < share
    }

    fn evenly<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u32) as usize]
    }

    /// Zipf-like: the first item as often as the next two together, as the next four together, and so on.
    fn rank(&mut self, n: u32) -> u32 {
        let octaves = u32::BITS - n.leading_zeros();
        loop {
            let octave = self.below(octaves);
            let rank = (1 << octave) - 1 + self.below(1 << octave);
            if rank < n {
                return rank;
            }
        }
    }

    fn skewed<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.rank(items.len() as u32) as usize]
    }

    fn country(&mut self) -> &'static Country {
        static TOTAL: LazyLock<u32> = LazyLock::new(|| COUNTRIES.iter().map(|c| c.weight).sum());
        let mut at = self.below(*TOTAL);
        for country in COUNTRIES {
            if at < country.weight {
                return country;
            }
            at -= country.weight;
        }
        &COUNTRIES[0]
    }

    fn company(&mut self) -> String {
        let all = (COMPANY_STEMS.len() * COMPANY_KINDS.len()) as u32;
        let rank = if self.chance(4_000) { self.rank(all) } else { self.below(all) } as usize;
        format!("{} {}", COMPANY_STEMS[rank % COMPANY_STEMS.len()], COMPANY_KINDS[rank / COMPANY_STEMS.len()])
    }

    /// Ends its local part in the index, which no name does: unique.
    fn email(&mut self, index: u64, country: &Country, first: &str, last: &str, company: Option<&str>) -> String {
        let initial = &first[..1];
        let local = match self.below(6) {
            0 | 1 => format!("{first}.{last}"),
            2 => format!("{first}{last}"),
            3 => format!("{initial}.{last}"),
            4 => format!("{last}_{first}"),
            _ => first.to_owned(),
        };
        let domain = match (self.below(10), company) {
            (0..4, _) => (*self.skewed(&WORLD_MAIL)).to_owned(),
            (4..7, _) | (_, None) => (*self.skewed(country.mail)).to_owned(),
            (_, Some(company)) => {
                let slug: String = deunicode(company).chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
                format!("{slug}.example")
            }
        };
        format!("{local}{index}@{domain}")
    }

    fn phone(&mut self, index: u64, country: &Country) -> String {
        // The factor has no divisor in common with eight million, so that many indexes give as many numbers. They start
        // with 2 to 9, as North American exchanges do.
        let digits = 2_000_000 + index.wrapping_mul(3_141_593) % 8_000_000;
        format!("{}{}{digits}", country.dial, self.evenly(country.ranges))
    }

    fn external_id(&mut self, index: u64) -> String {
        match self.below(3) {
            0 => format!("crm-{index:07}"),
            1 => format!("CUST{index:08}"),
            // An odd factor is a bijection of 64 bits: opaque, and unique.
            _ => format!("usr_{:016x}", index.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    fn attributes(&mut self) -> Attributes {
        Attributes {
            plan: self.chance(8_500).then(|| match self.below(100) {
                0..70 => "free",
                70..94 => "pro",
                _ => "enterprise",
            }),
            seats: self.chance(4_500).then(|| 1 + self.rank(500)),
            trial_ends: self.chance(3_000).then(|| format!("2026-{:02}-{:02}T00:00:00Z", 1 + self.below(12), 1 + self.below(28))),
            newsletter: self.chance(6_000).then(|| self.chance(3_500)),
            interests: if self.chance(4_000) { self.interests() } else { Vec::new() },
        }
    }

    fn interests(&mut self) -> Vec<&'static str> {
        let mut chosen: Vec<&'static str> = Vec::with_capacity(4);
        for _ in 0..=self.below(4) {
            let interest = *self.skewed(&INTERESTS);
            if !chosen.contains(&interest) {
                chosen.push(interest);
            }
        }
        chosen
    }

    fn consents(&mut self) -> Vec<Consent> {
        let mut out = Vec::new();
        for (channel, share) in [("email", 5_500), ("sms", 2_000)] {
            if self.chance(share) {
                let status = match self.below(10) {
                    0..7 => "opted_in",
                    7..9 => "opted_out",
                    _ => "pending",
                };
                let occurred_at = format!(
                    "{}-{:02}-{:02}T{:02}:{:02}:00Z",
                    2021 + self.below(4),
                    1 + self.below(12),
                    1 + self.below(28),
                    self.below(24),
                    self.below(60)
                );
                out.push(Consent { channel, status, occurred_at });
            }
        }
        out
    }
}

/// Writes people `0..count` as NDJSON: one create request a line.
pub fn write_ndjson(seed: u64, count: u64, mut out: impl std::io::Write) -> crate::Result<()> {
    for index in 0..count {
        serde_json::to_writer(&mut out, &person(seed, index))?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Writes people `0..count` as CSV: lists joined by `;`, attributes and consents as `attributes.plan`, `consents.email`.
pub fn write_csv(seed: u64, count: u64, out: impl std::io::Write) -> crate::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "email",
        "phone",
        "external_id",
        "name",
        "first_name",
        "last_name",
        "company",
        "job_title",
        "country",
        "city",
        "language",
        "timezone",
        "attributes.plan",
        "attributes.seats",
        "attributes.trial_ends",
        "attributes.newsletter",
        "attributes.interests",
        "labels",
        "consents.email",
        "consents.sms",
    ])?;
    for index in 0..count {
        let p = person(seed, index);
        let consent = |channel: &str| p.consents.iter().find(|c| c.channel == channel).map_or("", |c| c.status);
        csv.write_record([
            p.email.as_deref().unwrap_or_default(),
            p.phone.as_deref().unwrap_or_default(),
            p.external_id.as_deref().unwrap_or_default(),
            &p.name,
            p.first_name,
            p.last_name,
            p.company.as_deref().unwrap_or_default(),
            p.job_title.unwrap_or_default(),
            p.country.unwrap_or_default(),
            p.city.unwrap_or_default(),
            p.language.unwrap_or_default(),
            p.timezone.unwrap_or_default(),
            p.attributes.plan.unwrap_or_default(),
            &p.attributes.seats.map(|n| n.to_string()).unwrap_or_default(),
            p.attributes.trial_ends.as_deref().unwrap_or_default(),
            &p.attributes.newsletter.map(|b| b.to_string()).unwrap_or_default(),
            &p.attributes.interests.join(";"),
            &p.labels.join(";"),
            consent("email"),
            consent("sms"),
        ])?;
    }
    Ok(csv.flush()?)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::{ATTRIBUTES, LABELS, Person, person, write_csv, write_ndjson};

    fn people(count: u64) -> impl Iterator<Item = Person> {
        (0..count).map(|i| person(1, i))
    }

    #[test]
    fn a_small_directory_is_the_beginning_of_a_large_one() {
        let (mut small, mut large) = (Vec::new(), Vec::new());
        write_ndjson(1, 100, &mut small).expect("written");
        write_ndjson(1, 1_000, &mut large).expect("written");
        assert_eq!(small, large[..small.len()]);
        assert_eq!(person(1, 999), person(1, 999));
        assert_ne!(person(1, 999), person(2, 999), "another seed is another list");
    }

    #[test]
    fn identities_never_repeat_and_nobody_goes_without() {
        let (mut seen, mut total) = (HashSet::new(), 0);
        for p in people(100_000) {
            let keys: Vec<_> = [p.email, p.phone, p.external_id].into_iter().flatten().collect();
            assert!(!keys.is_empty(), "{} has no identity", p.name);
            total += keys.len();
            seen.extend(keys);
        }
        assert_eq!(seen.len(), total);
    }

    #[test]
    fn telephone_numbers_are_valid() {
        let mut refused = BTreeMap::new();
        for text in people(5_000).filter_map(|p| p.phone) {
            let number = phonenumber::parse(None, &text).expect("E.164");
            if !phonenumber::is_valid(&number) {
                refused.insert(text[..5].to_owned(), text);
            }
        }
        assert!(refused.is_empty(), "{refused:?}");
    }

    #[test]
    fn labels_come_in_their_shares() {
        let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
        people(100_000).flat_map(|p| p.labels).for_each(|label| *counts.entry(label).or_default() += 1.0);
        for (label, share) in LABELS {
            let (expected, got) = (f64::from(share) * 10.0, counts[label]);
            // Five standard deviations of a binomial count.
            assert!((got - expected).abs() < 5.0 * expected.sqrt(), "{label}: {got} of {expected}");
        }
    }

    #[test]
    fn many_scripts_and_accents_are_met() {
        let names: String = people(2_000).map(|p| p.name).collect();
        for (script, range) in [
            ("Latin with marks", 'À'..='ɏ'),
            ("Greek", 'Ͱ'..='Ͽ'),
            ("Cyrillic", 'Ѐ'..='ӿ'),
            ("Arabic", '\u{600}'..='\u{6ff}'),
            ("Devanagari", '\u{900}'..='\u{97f}'),
            ("Kana", 'ぁ'..='ヿ'),
            ("Han", '一'..='鿿'),
            ("Hangul", '가'..='힣'),
        ] {
            assert!(names.chars().any(|c| range.contains(&c)), "{script}");
        }
    }

    #[test]
    fn a_thousand_create_requests_fit_in_a_body_of_one_mebibyte() {
        let bytes: usize = people(50_000).map(|p| serde_json::to_vec(&p).expect("serializes").len() + r#""op":"create",,"#.len()).sum();
        assert!(bytes / 50 < 1024 * 1024 * 9 / 10, "{} bytes a thousand", bytes / 50);
    }

    #[test]
    fn every_column_of_the_csv_is_filled_and_attributes_are_the_defined_ones() {
        let mut out = Vec::new();
        write_csv(1, 500, &mut out).expect("written");
        let mut reader = csv::Reader::from_reader(out.as_slice());
        let columns = reader.headers().expect("headers").clone();
        let rows: Vec<_> = reader.records().collect::<Result<_, _>>().expect("readable");
        assert_eq!(rows.len(), 500);
        for (at, column) in columns.iter().enumerate() {
            assert!(rows.iter().any(|row| !row[at].is_empty()), "{column} is always empty");
        }
        let attributes: Vec<_> = columns.iter().filter_map(|c| c.strip_prefix("attributes.")).collect();
        assert_eq!(attributes, ATTRIBUTES.map(|(key, _)| key));
    }
}
