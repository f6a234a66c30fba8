//! Twenty thousand lines of a real shop (CDNOW): purchases of six thousand customers over eighteen months become events.
//! What must come out is computed from the file here.

use std::collections::{BTreeMap, BTreeSet};

use people_tests::{App, project, same, stories};
use serde_json::{Value, json};

use crate::cast::{id, list, version};

stories![a_real_shops_purchases_are_counted_as_the_file_says, segments_of_a_real_shop_are_as_large_as_the_file_says];

struct Purchase {
    customer: String,
    /// `1997-01-01`.
    day: String,
    cds: i64,
    cents: i64,
}

fn purchases() -> Vec<Purchase> {
    let text = std::fs::read_to_string(project().join("tests/data/cdnow.txt")).expect("the data is there");
    text.lines()
        .skip(1)
        .map(|line| {
            let [customer, day, cds, dollars] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("not a purchase: {line}") };
            let (whole, part) = dollars.split_once('.').expect("dollars and cents");
            Purchase {
                customer: customer.to_owned(),
                day: format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]),
                cds: cds.parse().expect("a number of CDs"),
                cents: whole.parse::<i64>().expect("dollars") * 100 + part.parse::<i64>().expect("cents"),
            }
        })
        .collect()
}

/// One event a row of the file, known by its place in it.
fn events(purchases: &[Purchase]) -> Vec<Value> {
    let dollars = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100).parse::<f64>().expect("an amount");
    purchases
        .iter()
        .enumerate()
        .map(|(row, p)| {
            json!({"identities": [{"kind": "external_id", "value": p.customer}], "type": "order_completed", "message_id": format!("cdnow-{row}"),
                "occurred_at": format!("{}T00:00:00Z", p.day), "properties": {"quantity": p.cds, "total": dollars(p.cents)}})
        })
        .collect()
}

async fn send(app: &App, events: &[Value]) -> Vec<Value> {
    let mut results = Vec::with_capacity(events.len());
    for part in events.chunks(2_500) {
        results.extend(list(&app.post("/v1/events").json(json!({"events": part})).await.ok(), "results").iter().cloned());
    }
    assert!(results.iter().all(|r| r["status"] == 201), "every purchase is taken");
    results
}

/// The customers with so many purchases of those picked, sorted; at least one.
fn customers(purchases: &[Purchase], pick: impl Fn(&Purchase) -> bool, enough: impl Fn(usize) -> bool) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for purchase in purchases.iter().filter(|p| pick(p)) {
        *counts.entry(&purchase.customer).or_default() += 1;
    }
    counts.into_iter().filter(|(_, n)| enough(*n)).map(|(customer, _)| customer.to_owned()).collect()
}

/// Purchases, CDs and cents of one customer, as their timeline tells.
async fn totals(app: &App, profile: &str) -> (usize, i64, i64) {
    let (mut count, mut cds, mut cents, mut cursor) = (0, 0, 0, String::new());
    loop {
        let page = app.get(&format!("/v1/profiles/{profile}/timeline?type=order_completed&limit=200{cursor}")).await.ok();
        for event in list(&page, "data") {
            count += 1;
            cds += event["properties"]["quantity"].as_i64().expect("a number of CDs");
            cents += format!("{:.0}", event["properties"]["total"].as_f64().expect("an amount") * 100.0).parse::<i64>().expect("cents");
        }
        let Some(next) = page["next_cursor"].as_str() else { return (count, cds, cents) };
        cursor = format!("&cursor={next}");
    }
}

async fn a_real_shops_purchases_are_counted_as_the_file_says(app: &App) {
    let purchases = purchases();
    let everyone: BTreeSet<&str> = purchases.iter().map(|p| p.customer.as_str()).collect();
    assert_eq!((purchases.len(), everyone.len()), (19_999, 6_348));
    let events = events(&purchases);
    let results = send(app, &events).await;
    assert_eq!(app.post("/v1/profiles/count").json(json!({})).await.ok(), json!({"total": everyone.len()}));

    // How often everyone bought: for each number, exactly the customers of the file.
    let mut bought: BTreeMap<&str, usize> = BTreeMap::new();
    purchases.iter().for_each(|p| *bought.entry(&p.customer).or_default() += 1);
    for n in bought.into_values().collect::<BTreeSet<usize>>() {
        let filter = json!({"event": "order_completed", "count": {"eq": n}});
        let expected = customers(&purchases, |_| true, |count| count == n);
        let total = app.post("/v1/profiles/count").json(json!({"filter": filter})).await.ok();
        assert_eq!(total, json!({"total": expected.len()}), "customers with {n} purchases");
        // Thousands bought once or twice: their number is enough.
        if n > 2 {
            assert_eq!(app.filtered(filter).await, expected, "customers with {n} purchases");
        }
    }

    // What everyone of a sample spent, and on how many CDs: all who bought most, and every sixtieth.
    let busy = customers(&purchases, |_| true, |n| n > 40);
    let sample: BTreeSet<&str> = everyone.iter().step_by(60).copied().chain(busy.iter().map(String::as_str)).collect();
    for customer in sample {
        let profile = app.get(&format!("/v1/profiles/lookup?external_id={customer}")).await.ok();
        let own = || purchases.iter().filter(|p| p.customer == customer);
        let expected = (own().count(), own().map(|p| p.cds).sum(), own().map(|p| p.cents).sum());
        assert_eq!(totals(app, id(&profile)).await, expected, "{customer}");
        let last = own().map(|p| p.day.as_str()).max().expect("a purchase");
        assert_eq!(profile["last_seen_at"], format!("{last}T00:00:00.000000Z"), "{customer}");
    }

    // Twice within the ninety days up to a day, and other windows and conditions.
    let window = |from: &'static str, to: &'static str| {
        (json!({"field": "occurred_at", "op": "between", "value": [format!("{from}T00:00:00Z"), format!("{to}T00:00:00Z")]}), from..=to)
    };
    let (ninety_days, days) = window("1997-04-02", "1997-07-01");
    let expected = customers(&purchases, |p| days.contains(&p.day.as_str()), |n| n >= 2);
    assert!(expected.len() > 500, "the file has too few for this to show anything: {}", expected.len());
    assert_eq!(app.filtered(json!({"event": "order_completed", "where": [ninety_days], "count": {"gte": 2}})).await, expected);
    let (winter, days) = window("1997-12-01", "1997-12-24");
    let large = json!({"field": "properties.total", "op": "gt", "value": 100});
    assert_eq!(
        app.filtered(json!({"event": "order_completed", "where": [winter, large]})).await,
        customers(&purchases, |p| days.contains(&p.day.as_str()) && p.cents > 10_000, |n| n >= 1)
    );
    let since = json!({"field": "occurred_at", "op": "gte", "value": "1998-01-01T00:00:00Z"});
    let lapsed = app.filtered(json!({"event": "order_completed", "where": [since], "count": {"eq": 0}})).await;
    let active: BTreeSet<String> = customers(&purchases, |p| p.day.as_str() >= "1998-01-01", |n| n >= 1).into_iter().collect();
    assert_eq!(lapsed, everyone.iter().filter(|c| !active.contains(**c)).copied().collect::<Vec<_>>());

    // The file again changes nothing.
    let busiest = app.get(&format!("/v1/profiles/lookup?external_id={}", busy[0])).await.ok();
    // Cursors carry the clock of their page.
    let newest = async || {
        let page = app.search(json!({"limit": 200, "count": true})).await;
        json!([page["data"], page["total"]])
    };
    let before = newest().await;
    same(&json!(send(app, &events).await), &json!(results));
    same(&newest().await, &before);
    let again = app.read(id(&busiest)).await;
    assert_eq!((version(&again), &again), (version(&busiest), &busiest));
    let own = purchases.iter().filter(|p| p.customer == busy[0]).count();
    assert_eq!(totals(app, id(&busiest)).await.0, own);
}

/// Segments made before the purchases come, which grow with every request, and one made after them, which a job fills:
/// their members are those the file has.
async fn segments_of_a_real_shop_are_as_large_as_the_file_says(app: &App) {
    let purchases = purchases();
    let order = |rest: Value| {
        let mut test = json!({"event": "order_completed"});
        test.as_object_mut().expect("an object").extend(rest.as_object().cloned().unwrap_or_default());
        test
    };
    let between = |from: &str, to: &str| json!({"field": "occurred_at", "op": "between", "value": [format!("{from}T00:00:00Z"), format!("{to}T00:00:00Z")]});
    let large = json!({"field": "properties.total", "op": "gt", "value": 100});
    let cases: Vec<(&str, Value, Vec<String>)> = vec![
        ("Loyal", order(json!({"count": {"gte": 5}})), customers(&purchases, |_| true, |n| n >= 5)),
        ("Once", order(json!({"count": {"eq": 1}})), customers(&purchases, |_| true, |n| n == 1)),
        ("Large", order(json!({"where": [large]})), customers(&purchases, |p| p.cents > 10_000, |n| n >= 1)),
        (
            "Spring",
            order(json!({"where": [between("1997-04-02", "1997-07-01")], "count": {"gte": 2}})),
            customers(&purchases, |p| ("1997-04-02"..="1997-07-01").contains(&p.day.as_str()), |n| n >= 2),
        ),
    ];
    let make = async |name: &str, filter: &Value| {
        let made = app.post("/v1/segments").json(json!({"name": name, "filter": filter})).await.created();
        crate::bulk::finished(app, &json!({"id": made["job_id"]})).await;
        id(&made).to_owned()
    };
    let mut segments = Vec::new();
    for (name, filter, expected) in &cases {
        segments.push((make(name, filter).await, expected));
    }
    send(app, &events(&purchases)).await;
    let (name, filter, expected) = &cases[0];
    segments.push((make(&format!("{name} again"), filter).await, expected));
    for (segment, expected) in segments {
        let now = app.get(&format!("/v1/segments/{segment}")).await.ok();
        assert_eq!((&now["status"], &now["member_count"]), (&json!("live"), &json!(expected.len())), "{now}");
        assert_eq!(&app.filtered(json!({"field": "segments", "op": "has", "value": segment})).await, expected, "{now}");
    }
}
