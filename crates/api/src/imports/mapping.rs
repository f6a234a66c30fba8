//! Which column is what: given as JSON, or guessed from headers such as those of Google Contacts, HubSpot, Mailchimp,
//! Outlook and this product's own export.

use std::fmt;

use people_domain::{
    Issue,
    consent::parse_channel,
    identity::IdentityKind,
    property::{self, Definitions, Standard},
    refusal::{Issues, token},
    text::fold,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::problem::{ApiResult, Problem};

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Field {
    /// The id of a profile.
    Id,
    Email,
    Phone,
    ExternalId,
    /// Further keys of a kind; one or, separated, many.
    Identities(String),
    Standard(Standard),
    Labels,
    /// What was decided about a channel.
    Consent(String, Told),
    Attribute(String),
}

/// What of a decision about a channel: its status, when it was made, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Status,
    OccurredAt,
    Source,
}

impl Told {
    /// The column's name.
    pub fn column(self, channel: &str) -> String {
        match self {
            Self::Status => format!("consents.{channel}"),
            Self::OccurredAt => format!("consents.{channel}.occurred_at"),
            Self::Source => format!("consents.{channel}.source"),
        }
    }

    fn parse(text: &str) -> Option<(Self, &str)> {
        Some(match text.split_once('.') {
            None => (Self::Status, text),
            Some((channel, "occurred_at")) => (Self::OccurredAt, channel),
            Some((channel, "source")) => (Self::Source, channel),
            Some(_) => return None,
        })
    }
}

const FIELDS: &str = "expected id, email, phone, external_id, name, first_name, last_name, company, job_title, country, city, language, timezone, \
     avatar_url, labels, identities.<kind>, consents.<channel>, consents.<channel>.occurred_at, consents.<channel>.source, attributes.<key> or null";

impl Field {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "id" => Self::Id,
            "email" => Self::Email,
            "phone" => Self::Phone,
            "external_id" => Self::ExternalId,
            "labels" => Self::Labels,
            _ => match text.split_once('.') {
                Some(("identities", kind)) => Self::Identities(IdentityKind::parse(kind)?.as_str().to_owned()),
                Some(("consents", rest)) => {
                    let (told, channel) = Told::parse(rest)?;
                    Self::Consent(parse_channel(channel).ok()?, told)
                }
                Some(("attributes", key)) => Self::Attribute(Some(key).filter(|key| property::is_key(key))?.to_owned()),
                _ => Self::Standard(Standard::parse_name(text)?),
            },
        })
    }

    /// People can be told by it.
    pub fn is_key(&self) -> bool {
        matches!(self, Self::Id | Self::Email | Self::Phone | Self::ExternalId | Self::Identities(_))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Email => f.write_str("email"),
            Self::Phone => f.write_str("phone"),
            Self::ExternalId => f.write_str("external_id"),
            Self::Labels => f.write_str("labels"),
            Self::Identities(kind) => write!(f, "identities.{kind}"),
            Self::Consent(channel, told) => f.write_str(&told.column(channel)),
            Self::Attribute(key) => write!(f, "attributes.{key}"),
            Self::Standard(property) => f.write_str(property.as_str()),
        }
    }
}

impl From<Field> for String {
    fn from(field: Field) -> Self {
        field.to_string()
    }
}

impl TryFrom<String> for Field {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or(FIELDS)
    }
}

/// The columns of a file: how many, and what those that count hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    pub width: usize,
    pub used: Vec<(usize, Field)>,
}

/// Columns as the caller maps them: what is not named is left out.
pub fn given(mapping: &Map<String, Value>, header: &[String]) -> ApiResult<Columns> {
    let mut issues = Issues::default();
    let mut used: Vec<(usize, Field)> = Vec::new();
    for (column, field) in mapping {
        let at = format!("mapping/{}", token(column));
        let Some(index) = header.iter().position(|name| name.trim() == column.trim()) else {
            issues.push(at, "unknown_column", format!("the file has no such column; it has: {}", header.join(", ")));
            continue;
        };
        match field {
            Value::Null => {}
            Value::String(text) => match Field::parse(text) {
                Some(field) if single(&field) && used.iter().any(|(_, other)| *other == field) => {
                    issues.push(at, "invalid_value", "another column holds this already");
                }
                Some(field) => used.push((index, field)),
                None => issues.push(at, "not_an_option", FIELDS),
            },
            _ => issues.push(at, "wrong_type", FIELDS),
        }
    }
    issues.into_result()?;
    used.sort_by_key(|(index, _)| *index);
    Ok(Columns { width: header.len(), used })
}

/// Only one column can hold it.
fn single(field: &Field) -> bool {
    !matches!(field, Field::Identities(_) | Field::Labels)
}

/// A header in the form the table below is in: folded, letters and digits only, single spaces.
fn normal(header: &str) -> String {
    let folded = fold(header);
    let words: Vec<&str> = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Headers as other programs write them, normal, and what they hold.
const KNOWN: &[(&str, &str)] = &[
    ("email", "email"),
    ("e mail", "email"),
    ("mail", "email"),
    ("email address", "email"),
    ("e mail address", "email"),
    ("primary email", "email"),
    ("work email", "email"),
    ("e mail 1 value", "email"),
    ("email 1 value", "email"),
    ("e mail 2 value", "identities.email"),
    ("e mail 3 value", "identities.email"),
    ("e mail 2 address", "identities.email"),
    ("e mail 3 address", "identities.email"),
    ("additional email addresses", "identities.email"),
    ("phone", "phone"),
    ("phone number", "phone"),
    ("telephone", "phone"),
    ("mobile", "phone"),
    ("mobile phone", "phone"),
    ("mobile phone number", "phone"),
    ("cell phone", "phone"),
    ("sms phone number", "phone"),
    ("primary phone", "phone"),
    ("business phone", "phone"),
    ("home phone", "phone"),
    ("phone 1 value", "phone"),
    ("phone 2 value", "identities.phone"),
    ("phone 3 value", "identities.phone"),
    ("external id", "external_id"),
    ("customer id", "external_id"),
    ("user id", "external_id"),
    ("contact id", "external_id"),
    ("record id", "external_id"),
    ("record id contact", "external_id"),
    ("crm id", "external_id"),
    ("leid", "external_id"),
    ("name", "name"),
    ("full name", "name"),
    ("display name", "name"),
    ("file as", "name"),
    ("first name", "first_name"),
    ("firstname", "first_name"),
    ("given name", "first_name"),
    ("forename", "first_name"),
    ("fname", "first_name"),
    ("last name", "last_name"),
    ("lastname", "last_name"),
    ("family name", "last_name"),
    ("surname", "last_name"),
    ("lname", "last_name"),
    ("company", "company"),
    ("company name", "company"),
    ("organization", "company"),
    ("organisation", "company"),
    ("organization name", "company"),
    ("organization 1 name", "company"),
    ("associated company", "company"),
    ("job title", "job_title"),
    ("title", "job_title"),
    ("organization title", "job_title"),
    ("organization 1 title", "job_title"),
    ("position", "job_title"),
    ("country", "country"),
    ("country code", "country"),
    ("country region", "country"),
    ("country region code", "country"),
    ("address 1 country", "country"),
    ("business country region", "country"),
    ("home country region", "country"),
    ("city", "city"),
    ("town", "city"),
    ("address 1 city", "city"),
    ("business city", "city"),
    ("home city", "city"),
    ("language", "language"),
    ("preferred language", "language"),
    ("locale", "language"),
    ("timezone", "timezone"),
    ("time zone", "timezone"),
    ("avatar url", "avatar_url"),
    ("photo", "avatar_url"),
    ("labels", "labels"),
    ("label", "labels"),
    ("tags", "labels"),
    ("group membership", "labels"),
    ("categories", "labels"),
];

/// One of our own names, however a person wrote it. E: it says that it is one, and there is no such.
fn own(header: &str) -> Result<Option<Field>, ()> {
    if let Some(field) = Field::parse(header) {
        return Ok(Some(field));
    }
    let lower = header.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| c.is_whitespace() || matches!(c, '.' | '_' | ':' | '/')).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["consents", ..] => {
            let told = match &words[1..] {
                [channel] | [channel, "status"] => Some((channel, Told::Status)),
                [channel, "occurred", "at"] | [channel, "at" | "date" | "time"] => Some((channel, Told::OccurredAt)),
                [channel, "source"] => Some((channel, Told::Source)),
                _ => None,
            };
            let field = told.and_then(|(channel, told)| Some(Field::Consent(parse_channel(channel).ok()?, told)));
            field.map(Some).ok_or(())
        }
        ["identities", _, ..] => Field::parse(&lower).map(Some).ok_or(()),
        // Other programs have a `Consent Date`; none writes it as one of ours.
        ["consent", _, ..] if lower.starts_with("consent.") => Err(()),
        // Keys of attributes differ by their case.
        ["attributes", ..] => Ok(header.get("attributes.".len()..).and_then(|key| Field::parse(&format!("attributes.{key}")))),
        _ => Ok(Field::parse(&lower)),
    }
}

/// Columns as their headers suggest. What nobody recognises is left out. E: 422: what can only be meant for us, and is not understood or
/// told twice: a consent that got lost would be one.
pub fn guessed(header: &[String], definitions: &Definitions) -> ApiResult<Columns> {
    let mut used: Vec<(usize, Field)> = Vec::new();
    let mut issues = Issues::default();
    for (index, name) in header.iter().enumerate() {
        let trimmed = name.trim();
        let normal = normal(trimmed);
        // Our own names and the workspace's own attributes first.
        let Ok(own) = own(trimmed) else {
            let detail = format!("{trimmed} is no column of a person, {FIELDS}; name what it holds, or null, with `mapping`");
            issues.push("mapping", "unknown_column", detail);
            continue;
        };
        let own = own.filter(|field| !matches!(field, Field::Attribute(key) if key.is_empty()));
        let defined = || definitions.keys().find(|key| key.eq_ignore_ascii_case(trimmed)).map(|key| Field::Attribute(key.clone()));
        let known = || KNOWN.iter().find(|(header, _)| *header == normal).and_then(|(_, field)| Field::parse(field));
        let Some(field) = own.or_else(defined).or_else(known) else { continue };
        let taken = single(&field) && used.iter().any(|(_, other)| *other == field);
        // A second e-mail or phone column is a further key; of anything else the first column counts.
        match field {
            Field::Email if taken => used.push((index, Field::Identities("email".to_owned()))),
            Field::Phone if taken => used.push((index, Field::Identities("phone".to_owned()))),
            Field::Consent(..) if taken => {
                issues.push("mapping", "invalid_value", format!("two columns hold {field}; say with `mapping` which one counts"));
            }
            _ if taken => {}
            field => used.push((index, field)),
        }
    }
    issues.into_result()?;
    Ok(Columns { width: header.len(), used })
}

impl Columns {
    /// E: 422: no column tells who a row is about, or what was decided at a time or a place that is told.
    pub fn checked(self, header: &[String], with_id: bool) -> ApiResult<Self> {
        let alone = self.used.iter().find_map(|(_, field)| match field {
            Field::Consent(channel, Told::OccurredAt | Told::Source) if !self.holds(&Field::Consent(channel.clone(), Told::Status)) => {
                Some((field, channel))
            }
            _ => None,
        });
        if let Some((field, channel)) = alone {
            let detail = format!("{field} says nothing without a column that is {}", Told::Status.column(channel));
            return Err(Problem::invalid(vec![Issue::new("mapping", "invalid_value", detail)]));
        }
        let has_id = self.holds(&Field::Id);
        let used: Vec<_> = self.used.into_iter().filter(|(_, field)| with_id || *field != Field::Id).collect();
        if used.iter().any(|(_, field)| field.is_key()) {
            return Ok(Self { used, ..self });
        }
        let by_id = if has_id { " A column `id` names people with `mode=update`." } else { "" };
        let detail = format!(
            "no column is known to hold an identity; name one with `mapping`, such as {{\"{}\": \"email\"}}. The first line has to name the \
             columns.{by_id}",
            header.iter().find(|name| name.trim() != "id").map_or("E-mail", String::as_str)
        );
        Err(Problem::invalid(vec![Issue::new("mapping", "identity_required", detail)]))
    }

    /// A column holds it.
    pub fn holds(&self, field: &Field) -> bool {
        self.used.iter().any(|(_, used)| used == field)
    }

    /// Column → field, for the job's details.
    pub fn shown(&self, header: &[String]) -> Value {
        let name = |index: usize| header.get(index).cloned().unwrap_or_default();
        Value::Object(self.used.iter().map(|(index, field)| (name(*index), Value::from(field.to_string()))).collect())
    }

    /// Columns that are left out.
    pub fn ignored(&self, header: &[String]) -> Vec<String> {
        let is_used = |index: usize| self.used.iter().any(|(used, _)| *used == index);
        header.iter().enumerate().filter(|(index, _)| !is_used(*index)).map(|(_, name)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, given, guessed};
    use serde_json::json;

    fn told(header: &str) -> Vec<(String, String)> {
        let header: Vec<String> = header.split(',').map(str::to_owned).collect();
        let columns = guessed(&header, &Default::default());
        columns
            .map(|columns| columns.used)
            .unwrap_or_default()
            .into_iter()
            .map(|(index, field)| (header[index].clone(), field.to_string()))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(column, field)| ((*column).to_owned(), (*field).to_owned())).collect()
    }

    #[test]
    fn headers_of_other_programs_are_known() {
        let google = "First Name,Last Name,Organization Name,Organization Title,Notes,Labels,E-mail 1 - Label,E-mail 1 - Value,\
                      E-mail 2 - Value,Phone 1 - Value,Address 1 - City,Address 1 - Country";
        assert_eq!(
            told(google),
            pairs(&[
                ("First Name", "first_name"),
                ("Last Name", "last_name"),
                ("Organization Name", "company"),
                ("Organization Title", "job_title"),
                ("Labels", "labels"),
                ("E-mail 1 - Value", "email"),
                ("E-mail 2 - Value", "identities.email"),
                ("Phone 1 - Value", "phone"),
                ("Address 1 - City", "city"),
                ("Address 1 - Country", "country"),
            ])
        );
        let hubspot =
            "Record ID,First Name,Last Name,Email,Phone Number,Mobile Phone Number,Company name,Job Title,Country/Region,Lead Status";
        assert_eq!(
            told(hubspot),
            pairs(&[
                ("Record ID", "external_id"),
                ("First Name", "first_name"),
                ("Last Name", "last_name"),
                ("Email", "email"),
                ("Phone Number", "phone"),
                ("Mobile Phone Number", "identities.phone"),
                ("Company name", "company"),
                ("Job Title", "job_title"),
                ("Country/Region", "country"),
            ])
        );
        let mailchimp = "Email Address,First Name,Last Name,Phone Number,MEMBER_RATING,OPTIN_TIME,LEID,EUID,TAGS";
        assert_eq!(
            told(mailchimp),
            pairs(&[
                ("Email Address", "email"),
                ("First Name", "first_name"),
                ("Last Name", "last_name"),
                ("Phone Number", "phone"),
                ("LEID", "external_id"),
                ("TAGS", "labels"),
            ])
        );
        assert_eq!(
            told("id,version,email,attributes.plan,consents.sms,consents.sms.occurred_at,consents.sms.source,created_at"),
            pairs(&[
                ("id", "id"),
                ("email", "email"),
                ("attributes.plan", "attributes.plan"),
                ("consents.sms", "consents.sms"),
                ("consents.sms.occurred_at", "consents.sms.occurred_at"),
                ("consents.sms.source", "consents.sms.source"),
            ])
        );
    }

    #[test]
    fn a_consent_is_understood_or_asked_about() {
        for (header, field) in [
            ("Consents.Email", "consents.email"),
            ("CONSENTS SMS", "consents.sms"),
            ("consents_sms_status", "consents.sms"),
            ("consents.sms.date", "consents.sms.occurred_at"),
            ("Consents.SMS.Occurred At", "consents.sms.occurred_at"),
            ("consents: email source", "consents.email.source"),
        ] {
            assert_eq!(told(&format!("email,{header}")), pairs(&[("email", "email"), (header, field)]));
        }
        for header in
            ["consents.sms.when", "consents", "consents.e-mail", "consent.email", "identities.e mail", "Consents.Sms,consents.sms"]
        {
            let columns = guessed(&format!("email,{header}").split(',').map(str::to_owned).collect::<Vec<_>>(), &Default::default());
            let code = columns.err().and_then(|problem| problem.errors.first().map(|issue| issue.code));
            assert!(matches!(code, Some("unknown_column" | "invalid_value")), "{header}: {code:?}");
        }
        assert_eq!(told("email,Consent,Consent Date,Marketing consent"), pairs(&[("email", "email")]));
    }

    #[test]
    fn a_mapping_is_taken_as_it_is_given_or_refused_at_its_place() {
        let header: Vec<String> = ["Mail", "Who", "Plan"].map(str::to_owned).into();
        let mapping = |value: serde_json::Value| given(value.as_object().unwrap_or(&Default::default()), &header);
        let columns = mapping(json!({"Plan": "attributes.plan", "Mail": "email", "Who": null})).map(|columns| columns.used);
        assert_eq!(columns.ok(), Some(vec![(0, Field::Email), (2, Field::Attribute("plan".to_owned()))]));
        for (sent, pointer, code) in [
            (json!({"Nowhere": "email"}), "mapping/Nowhere", "unknown_column"),
            (json!({"Mail": "e-mail"}), "mapping/Mail", "not_an_option"),
            (json!({"Mail": 1}), "mapping/Mail", "wrong_type"),
            (json!({"Mail": "email", "Who": "email"}), "mapping/Who", "invalid_value"),
        ] {
            let refused = mapping(sent).err().map(|problem| problem.errors).unwrap_or_default();
            assert_eq!(refused.first().map(|issue| (issue.pointer.as_str(), issue.code)), Some((pointer, code)));
        }
    }
}
