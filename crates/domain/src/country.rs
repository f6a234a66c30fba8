//! Countries (ISO 3166-1 alpha-2), languages (BCP 47) and time zones (IANA), each checked against its registry.

use std::{collections::HashMap, sync::LazyLock};

use crate::text::fold;

/// The alpha-2 code in capitals; E: not an assigned code.
pub fn parse_country(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_uppercase();
    (code.len() == 2).then(|| rust_iso3166::from_alpha2(&code).map(|c| c.alpha2.to_owned())).flatten()
}

/// A country as people write it in files: either code, the ISO name in any case and with or without what stands in
/// brackets, or one of the names in daily use that ISO does not know.
pub fn read_country(text: &str) -> Option<String> {
    parse_country(text).or_else(|| {
        let name = fold(text.trim());
        rust_iso3166::from_alpha3(&text.trim().to_ascii_uppercase())
            .map(|country| country.alpha2.to_owned())
            .or_else(|| NAMES.get(name.as_str()).map(|code| (*code).to_owned()))
    })
}

/// Names in daily use, folded.
const DAILY: &[(&str, &str)] = &[
    ("uk", "GB"),
    ("united kingdom", "GB"),
    ("great britain", "GB"),
    ("united states", "US"),
    ("russia", "RU"),
    ("south korea", "KR"),
    ("north korea", "KP"),
    ("vietnam", "VN"),
    ("turkey", "TR"),
    ("czech republic", "CZ"),
    ("taiwan", "TW"),
    ("tanzania", "TZ"),
    ("moldova", "MD"),
    ("laos", "LA"),
    ("syria", "SY"),
    ("brunei", "BN"),
    ("ivory coast", "CI"),
    ("cape verde", "CV"),
];

/// Folded names to codes.
static NAMES: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let mut names: HashMap<String, &'static str> = HashMap::new();
    let mut shared: Vec<String> = Vec::new();
    for country in rust_iso3166::ALL {
        let short = fold(country.name.split(" (").next().unwrap_or_default());
        if names.insert(short.clone(), country.alpha2).is_some() {
            shared.push(short);
        }
    }
    // What two countries are called is neither's name.
    for name in shared {
        names.remove(&name);
    }
    names.extend(rust_iso3166::ALL.iter().map(|country| (fold(country.name), country.alpha2)));
    names.extend(DAILY.iter().map(|(name, code)| ((*name).to_owned(), *code)));
    names
});

/// A well-formed language tag in its usual case (`en`, `pt-BR`, `zh-Hant-TW`).
pub fn parse_language(text: &str) -> Option<String> {
    oxilangtag::LanguageTag::parse_and_normalize(text.trim()).ok().map(oxilangtag::LanguageTag::into_inner)
}

/// A zone of the IANA database, spelled as the database spells it.
pub fn parse_timezone(text: &str) -> Option<String> {
    let zone = jiff::tz::db().get(text.trim()).ok()?;
    zone.iana_name().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{parse_country, parse_language, parse_timezone, read_country};

    #[test]
    fn countries_are_read_by_code_and_by_name() {
        for (text, code) in [
            ("gb", Some("GB")),
            ("DEU", Some("DE")),
            ("Germany", Some("DE")),
            ("United Kingdom", Some("GB")),
            ("UK", Some("GB")),
            ("turkiye", Some("TR")),
            ("Netherlands", Some("NL")),
            ("Niger", Some("NE")),
            ("Korea", None),
            ("Narnia", None),
            ("", None),
        ] {
            assert_eq!(read_country(text).as_deref(), code, "{text}");
        }
    }

    #[test]
    fn codes_are_checked_and_spelled_one_way() {
        assert_eq!(parse_country("gb").as_deref(), Some("GB"));
        assert_eq!(parse_country("UK"), None);
        assert_eq!(parse_country("XX"), None);
        assert_eq!(parse_language("PT-br").as_deref(), Some("pt-BR"));
        assert_eq!(parse_language("not a tag"), None);
        assert_eq!(parse_timezone("europe/london").as_deref(), Some("Europe/London"));
        assert_eq!(parse_timezone("Mars/Olympus"), None);
    }
}
