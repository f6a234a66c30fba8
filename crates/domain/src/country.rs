//! Countries (ISO 3166-1 alpha-2), languages (BCP 47) and time zones (IANA), each checked against its registry.

/// The alpha-2 code in capitals; E: not an assigned code.
pub fn parse_country(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_uppercase();
    (code.len() == 2).then(|| rust_iso3166::from_alpha2(&code).map(|c| c.alpha2.to_owned())).flatten()
}

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
    use super::{parse_country, parse_language, parse_timezone};

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
