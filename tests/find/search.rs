//! `q`: any part of any name, address, number or searchable attribute finds its person, however it is typed.

use std::collections::BTreeMap;

use people_tests::{App, percent, stories};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::cast::{id, path};

stories![
    every_piece_of_every_field_finds_its_person,
    typing_finds_at_every_letter,
    case_and_accents_do_not_matter,
    signs_are_letters,
    phones_are_found_by_any_punctuation,
    all_words_must_match_in_any_order,
    a_whole_identity_comes_first,
    only_searchable_attributes_are_searched,
    making_an_attribute_searchable_finds_what_was_written_before,
    what_was_changed_is_found_as_it_is_now,
    blank_is_everyone,
    endless_questions_are_refused,
    searching_by_get_and_by_post_is_the_same,
];

/// Sixty people of many scripts, whose texts hold everything that has ever confused a search.
fn crowd() -> Vec<Value> {
    let names = [
        ("Ada", "Lovelace"),
        ("José", "García Núñez"),
        ("Łukasz", "Żółć"),
        ("王", "小明"),
        ("山田", "太郎"),
        ("やまだ", "ハナコ"),
        ("김", "철수"),
        ("Нина", "Щербакова"),
        ("Ольга", "Ёлкина"),
        ("Γιώργος", "Παπαδόπουλος"),
        ("Σίσυφος", "Αἴολος"),
        ("محمد", "الخطيب"),
        ("فاطمة", "الزهراء"),
        ("דוד", "בן־גוריון"),
        ("प्रिया", "शर्मा"),
        ("தமிழ்", "செல்வன்"),
        ("สมชาย", "ใจดี"),
        ("Nguyễn", "Thị Hường"),
        ("Đặng", "Ngọc"),
        ("İpek", "Işık"),
        ("Iğdır", "Çağlar"),
        ("Søren", "Ærøskøbing"),
        ("Jürgen", "Groß"),
        ("Straße", "Weiß"),
        ("Zoë", "D'Arcy"),
        ("Seán", "O'Brien"),
        ("Siobhán", "O’Reilly"),
        ("Jean-Luc", "L'Écuyer"),
        ("100%", "_sure_"),
        ("back\\slash", "semi;colon"),
        ("\"Quoted\"", "Name"),
        ("<b>bold</b>", "&amp;"),
        ("Robert'); DROP TABLE", "profiles;--"),
        ("😀", "👨‍👩‍👧"),
        ("🇬🇧", "Flag"),
        ("e\u{301}clair", "cafe\u{301}"),
        ("ＡＢＣ", "ｆｕｌｌｗｉｄｔｈ"),
        ("ﬁnance", "oﬀice"),
        ("Ⅷ", "№7"),
        ("x", "y"),
        ("Þórdís", "Guðmundsdóttir"),
        ("Škoda", "Čapek"),
        ("Ștefan", "Țepeș"),
        ("Ķēniņš", "Ģirts"),
        ("Ömer", "Şahin"),
        ("Björk", "Åström"),
        ("Ñandú", "Ünlü"),
        ("Œuvre", "Æsir"),
        ("Հայկ", "Արամյան"),
        ("თამარ", "მეფე"),
        ("ሰላም", "ተስፋ"),
        ("বাংলা", "রহমান"),
        ("ਗੁਰਪ੍ਰੀਤ", "ਸਿੰਘ"),
        ("ភាសា", "ខ្មែរ"),
        ("ລາວ", "ພາສາ"),
        ("မြန်မာ", "စာ"),
        ("ᏣᎳᎩ", "Ꭰ"),
        ("𝓕𝓪𝓷𝓬𝔂", "𝔉𝔯𝔞𝔨"),
        ("tab\tbed", "double  space"),
        ("null", "undefined"),
    ];
    names
        .iter()
        .enumerate()
        .map(|(n, (first, last))| {
            json!({
                "external_id": format!("crm/{n:02}_%{}", n * 7919 % 1000),
                "email": format!("person.{n:02}+{}@mail-{}.example", ["a", "b_c", "d-e"][n % 3], n % 7),
                "phone": format!("+4420794{:05}", 46_000 + n * 37),
                "first_name": first,
                "last_name": last,
                "company": format!("{last} & {first} GmbH"),
                "identities": [{"kind": "device", "value": format!("Dev[{n}]:{last}")}],
                "attributes": {"nickname": format!("{first}~{n}"), "tags": [format!("tag-{n}"), last]}
            })
        })
        .collect()
}

/// Every piece of a text from one character to the whole, between white space.
fn pieces(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for from in 0..letters.len() {
            for to in from + 1..=letters.len() {
                out.push(letters[from..to].iter().collect());
            }
        }
    }
    out
}

/// A piece that leaves nothing when marks and invisible joiners are taken away asks for nothing.
fn says_something(piece: &str) -> bool {
    piece.chars().any(|c| {
        c.is_alphanumeric()
            || c.is_ascii_punctuation()
            || (!c.is_whitespace() && !c.is_control() && c as u32 > 0x2190 && !matches!(c as u32, 0xFE00..=0xFE0F))
    })
}

pub(super) async fn every_piece_of_every_field_finds_its_person(app: &App) {
    for key in ["nickname", "tags"] {
        let kind = if key == "tags" { "text_list" } else { "text" };
        app.post("/v1/properties").json(json!({"key": key, "type": kind, "searchable": true})).await.created();
    }
    let crowd = crowd();
    app.people(&crowd).await;
    // Too many to ask all: every single character is asked, and of the longer pieces a seeded choice.
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(20_260_131);
    let mut questions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for person in &crowd {
        let fields = ["external_id", "email", "phone", "first_name", "last_name", "company"]
            .map(|f| person[f].as_str().unwrap_or_default().to_owned());
        let others = [
            &person["identities"][0]["value"],
            &person["attributes"]["nickname"],
            &person["attributes"]["tags"][0],
            &person["attributes"]["tags"][1],
        ];
        for text in fields.into_iter().chain(others.map(|v| v.as_str().unwrap_or_default().to_owned())) {
            for piece in pieces(&text) {
                if says_something(&piece) && (piece.chars().count() == 1 || rng.random_range(0..40) == 0) {
                    questions.entry(piece).or_default().push(person["external_id"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
    }
    assert!(questions.len() > 500, "only {} pieces were chosen", questions.len());
    for (piece, people) in questions {
        let found = app.find(json!({"q": piece})).await;
        for person in people {
            assert!(found.contains(&person), "{piece:?} does not find {person}");
        }
    }
}

pub(super) async fn typing_finds_at_every_letter(app: &App) {
    app.person(json!({"external_id": "a", "name": "Ada Lovelace"})).await;
    app.person(json!({"external_id": "b", "name": "Grace Hopper"})).await;
    let typed = "ada lovelace";
    for end in 1..=typed.len() {
        let found = app.find_sorted(json!({"q": &typed[..end]})).await;
        let expected: &[&str] = if end == 1 { &["a", "b"] } else { &["a"] };
        assert_eq!(found, expected, "{:?}", &typed[..end]);
    }
}

async fn case_and_accents_do_not_matter(app: &App) {
    for (n, name) in [
        "José Núñez",
        "Łukasz Żółć",
        "Jürgen Groß",
        "Søren Ærø",
        "İpek",
        "Nguyễn Thị",
        "Σίσυφος",
        "ЁЛКИНА",
        "Jose\u{301} Two",
        "ﬁnance",
        "ＡＢＣ",
    ]
    .iter()
    .enumerate()
    {
        app.person(json!({"external_id": format!("p{n:02}"), "name": name})).await;
    }
    for (q, expected) in [
        ("jose", &["p00", "p08"][..]),
        ("JOSÉ", &["p00", "p08"]),
        ("jose\u{301}", &["p00", "p08"]),
        ("nunez", &["p00"]),
        ("lukasz", &["p01"]),
        ("ŁUKASZ", &["p01"]),
        ("zolc", &["p01"]),
        ("gross", &["p02"]),
        ("GROSS", &["p02"]),
        ("groß", &["p02"]),
        ("jurgen", &["p02"]),
        ("soren", &["p03"]),
        ("aero", &["p03"]),
        ("ipek", &["p04"]),
        ("IPEK", &["p04"]),
        ("nguyen thi", &["p05"]),
        ("σισυφοσ", &["p06"]),
        ("ΣΊΣΥΦΟΣ", &["p06"]),
        ("елкина", &["p07"]),
        ("finance", &["p09"]),
        ("abc", &["p10"]),
    ] {
        assert_eq!(app.find_sorted(json!({"q": q})).await, expected, "{q}");
    }
}

pub(super) async fn signs_are_letters(app: &App) {
    for (n, name) in [
        "100% sure",
        "100 percent",
        "under_score",
        "under-score",
        "back\\slash",
        "Seán O'Brien",
        "Sean OBrien",
        "say \"hi\"",
        "a*b?c",
        "[brackets]",
        "王小明",
        "smile 😀",
        "x",
    ]
    .iter()
    .enumerate()
    {
        app.person(json!({"external_id": format!("p{n:02}"), "name": name, "company": "z"})).await;
    }
    for (q, expected) in [
        ("100%", &["p00"][..]),
        ("%", &["p00"]),
        ("r_s", &["p02"]),
        ("_", &["p02"]),
        ("\\", &["p04"]),
        ("back\\slash", &["p04"]),
        ("o'brien", &["p05"]),
        ("'", &["p05"]),
        ("O'B", &["p05"]),
        ("\"", &["p07"]),
        ("\"hi\"", &["p07"]),
        ("a*b", &["p08"]),
        ("*", &["p08"]),
        ("?", &["p08"]),
        ("[", &["p09"]),
        ("王", &["p10"]),
        ("小明", &["p10"]),
        ("😀", &["p11"]),
        ("' OR '1'='1", &[]),
        ("%%%", &[]),
        ("1%0", &[]),
        ("a%b", &[]),
        ("NEAR(x)", &[]),
        ("x*", &[]),
        ("name:x", &[]),
        ("x AND y", &[]),
    ] {
        assert_eq!(app.find_sorted(json!({"q": q})).await, expected, "{q}");
    }
}

pub(super) async fn phones_are_found_by_any_punctuation(app: &App) {
    app.person(json!({"external_id": "ada", "phone": "+442079460000"})).await;
    app.person(json!({"external_id": "grace", "phone": "+12125550100"})).await;
    for q in [
        "+442079460000",
        "442079460000",
        "+44 20 7946 0000",
        "(020) 7946-0000",
        "02079460000",
        "7946.0000",
        "79460000",
        "+44",
        "7946-00",
        "020",
    ] {
        assert_eq!(app.find(json!({"q": q})).await, ["ada"], "{q}");
    }
    for q in ["(212) 555-0100", "+1-212-555-0100", "2125550100"] {
        assert_eq!(app.find(json!({"q": q})).await, ["grace"], "{q}");
    }
}

pub(super) async fn all_words_must_match_in_any_order(app: &App) {
    app.person(json!({"external_id": "a", "name": "Ada Lovelace", "company": "Analytical Engines", "email": "ada@example.com"})).await;
    app.person(json!({"external_id": "b", "name": "Ada Byron", "company": "Engines Ltd"})).await;
    for (q, expected) in [
        ("ada", &["a", "b"][..]),
        ("lovelace ada", &["a"]),
        ("engines ada", &["a", "b"]),
        ("ada engines byr", &["b"]),
        ("example love", &["a"]),
        ("  ada \t lovelace ", &["a"]),
        ("ada hopper", &[]),
        ("adalovelace", &[]),
        ("ada ada", &["a", "b"]),
    ] {
        assert_eq!(app.find_sorted(json!({"q": q})).await, expected, "{q}");
    }
}

pub(super) async fn a_whole_identity_comes_first(app: &App) {
    let target = app.person(json!({"external_id": "ann", "email": "ann@example.com", "phone": "+442079460000"})).await;
    // Newer people whose data contains the same text.
    for n in 0..5 {
        app.person(json!({"external_id": format!("xann{n}"), "email": format!("joann{n}.ann@example.com"), "name": format!("ann@example.com +442079460000 {n}")})).await;
    }
    for q in ["ann@example.com", "ANN@Example.com", "ann", "+442079460000", "+44 20 7946 0000"] {
        for sort in ["-created_at", "created_at", "name"] {
            let page = app.search(json!({"q": q, "sort": sort})).await;
            assert_eq!(page["data"][0]["id"], target["id"], "{q} by {sort}");
        }
        // First once: it does not come again where it would stand by its date.
        let found = app.find(json!({"q": q, "sort": "-created_at", "limit": 2})).await;
        assert_eq!(found.iter().filter(|e| *e == "ann").count(), 1, "{q}: {found:?}");
        assert_eq!(found.len(), 6, "{q}: {found:?}");
    }
}

async fn only_searchable_attributes_are_searched(app: &App) {
    app.post("/v1/properties").json(json!({"key": "nickname", "type": "text", "searchable": true})).await.created();
    app.person(
        json!({"external_id": "a", "job_title": "zookeeper", "city": "Zagreb", "attributes": {"nickname": "Zebra", "secret": "Zulu"}}),
    )
    .await;
    assert_eq!(app.find(json!({"q": "zebra"})).await, ["a"]);
    assert_eq!(app.find(json!({"q": "zulu"})).await, [""; 0], "an attribute nobody marked is not searched");
}

pub(super) async fn making_an_attribute_searchable_finds_what_was_written_before(app: &App) {
    app.person(json!({"external_id": "a", "attributes": {"nickname": "Zebra"}})).await;
    assert_eq!(app.find(json!({"q": "zebra"})).await, [""; 0]);
    app.patch("/v1/properties/nickname").json(json!({"searchable": true})).await.ok();
    people_tests::eventually("the nickname is searched", async || (app.find(json!({"q": "zebra"})).await == ["a"]).then_some(())).await;
    app.patch("/v1/properties/nickname").json(json!({"searchable": false})).await.ok();
    people_tests::eventually("the nickname is no longer searched", async || app.find(json!({"q": "zebra"})).await.is_empty().then_some(()))
        .await;
}

async fn what_was_changed_is_found_as_it_is_now(app: &App) {
    let person = app.person(json!({"external_id": "a", "name": "Ada Byron", "company": "Old Ltd"})).await;
    app.patch(&path(&person, "")).json(json!({"name": "Ada Lovelace", "company": null})).await.ok();
    for (q, expected) in [("byron", &[][..]), ("old ltd", &[]), ("lovelace", &["a"])] {
        assert_eq!(app.find(json!({"q": q})).await, expected, "{q}");
    }
    assert_eq!(app.search(json!({"q": "lovelace"})).await["data"][0], app.read(id(&person)).await);
}

async fn blank_is_everyone(app: &App) {
    for n in 0..3 {
        app.person(json!({"external_id": format!("p{n}")})).await;
    }
    for body in [json!({}), json!({"q": ""}), json!({"q": "  "}), json!({"q": null})] {
        assert_eq!(app.find_sorted(body.clone()).await, ["p0", "p1", "p2"], "{body}");
    }
    assert_eq!(app.get("/v1/profiles?q=").await.ok()["data"].as_array().map(Vec::len), Some(3));
}

async fn endless_questions_are_refused(app: &App) {
    app.search(json!({"q": "x".repeat(200)})).await;
    for q in ["x".repeat(201), "x ".repeat(17)] {
        app.post("/v1/profiles/search").json(json!({"q": q})).await.refused_at("/q", "too_long");
        app.post("/v1/profiles/count").json(json!({"q": q})).await.refused_at("/q", "too_long");
        app.get(&format!("/v1/profiles?q={}", percent(&q))).await.refused(400, "invalid_query");
    }
    app.post("/v1/profiles/search").json(json!({"q": "a\u{0}b"})).await.refused_at("/q", "nul_character");
}

async fn searching_by_get_and_by_post_is_the_same(app: &App) {
    app.people(&crowd()).await;
    for q in ["o'brien", "100%", "_", "王", "+44 20", "a b", "é", "😀", "&", "#", "+", "person.0"] {
        let posted = app.search(json!({"q": q, "limit": 200, "count": true, "sort": "name"})).await;
        let got = app.get(&format!("/v1/profiles?q={}&limit=200&count=true&sort=name", percent(q))).await.ok();
        assert_eq!(posted["data"], got["data"], "{q}");
        assert_eq!(posted["total"], got["total"], "{q}");
    }
}
