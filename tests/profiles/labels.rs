//! `/v1/profiles/{id}/labels` and the catalogue of `/v1/labels`.

use people_tests::{App, percent, same, stories};
use serde_json::{Value, json};

use crate::{
    bulk::{confirmed, finished},
    cast::{ada, changes, id, list, nobody, path, version},
    labels::by_a_rule,
};

stories![
    a_label_put_on_is_there_and_found,
    one_carried_already_changes_nothing,
    a_rules_label_named_by_hand_is_a_manual_one,
    a_label_taken_off_is_gone,
    awkward_names_are_names,
    what_is_no_label_is_refused,
    a_stale_tag_is_refused,
    a_merged_id_answers_for_the_survivor,
    a_label_by_hand_outlives_the_rule_that_put_it_on,
    a_merge_keeps_the_label_by_hand,
    a_profile_carries_at_most_two_hundred,
    the_catalogue_holds_every_name,
    nobody_and_the_erased_carry_none,
];

async fn carried(app: &App, profile: &Value) -> Vec<Value> {
    let answer = app.get(&path(profile, "/labels?limit=200")).await.ok();
    assert_eq!(answer["next_cursor"], Value::Null);
    list(&answer, "data").to_vec()
}

async fn names(app: &App, profile: &Value) -> Vec<String> {
    carried(app, profile).await.iter().filter_map(|l| l["name"].as_str().map(str::to_owned)).collect()
}

async fn a_label_put_on_is_there_and_found(app: &App) {
    let ada = app.person(ada()).await;
    let answer = app.put(&path(&ada, "/labels/churn-risk")).header("x-reason", "called twice").await;
    let after = answer.ok();
    assert_eq!((&after["labels"], version(&after), answer.header("etag")), (&json!(["churn-risk", "vip"]), 2, Some("\"2\"")));
    same(&app.read(id(&ada)).await, &after);
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "churn-risk"})).await, ["crm-17"]);
    let entry = &app.history(id(&ada)).await[0];
    assert_eq!((&entry["action"], &entry["reason"]), (&json!("label_added"), &json!("called twice")));
    assert_eq!(changes(entry), json!({"labels": [["vip"], ["churn-risk", "vip"]]}));
    let all = carried(app, &ada).await;
    assert_eq!(all.len(), 2);
    same(&all[0], &json!({"name": "churn-risk", "source": "manual", "rule_id": null, "actor": entry["actor"], "created_at": entry["at"]}));
    assert_eq!((&all[1]["name"], &all[1]["created_at"]), (&json!("vip"), &ada["created_at"]));
    let line = app.get(&path(&ada, "/timeline?type=system.label_added")).await.ok();
    assert_eq!(list(&line, "data").len(), 1);
}

async fn one_carried_already_changes_nothing(app: &App) {
    let ada = app.person(ada()).await;
    let before = carried(app, &ada).await;
    for name in ["vip", "%20vip%20"] {
        same(&app.put(&path(&ada, &format!("/labels/{name}"))).await.ok(), &ada);
    }
    assert_eq!((app.history(id(&ada)).await.len(), carried(app, &ada).await), (1, before));
    // Case counts.
    let after = app.put(&path(&ada, "/labels/VIP")).await.ok();
    assert_eq!(after["labels"], json!(["VIP", "vip"]));
}

async fn a_rules_label_named_by_hand_is_a_manual_one(app: &App) {
    let other = app.with_scopes(&["profiles:read", "profiles:write", "bulk"]).await;
    let ada = app.person(json!({"external_id": "crm-1", "labels": ["vip", "trial"]})).await;
    for way in ["put", "upsert", "upsert with more", "batch", "bulk"] {
        let before = app.read(id(&ada)).await;
        by_a_rule(app, &ada, "vip").await;
        by_a_rule(app, &ada, "trial").await;
        let ruled = carried(app, &ada).await;
        assert!(ruled.iter().all(|label| label["source"] == "rule"), "{ruled:?}");
        let labels = json!({"external_id": "crm-1", "labels": ["vip"]});
        match way {
            "put" => {
                let answer = other.put(&path(&ada, "/labels/vip")).await;
                same(&answer.ok(), &before);
            }
            "upsert" => same(&other.post("/v1/profiles/upsert").json(labels).await.ok(), &before),
            "upsert with more" => {
                let more = json!({"external_id": "crm-1", "labels": ["vip"], "city": "London"});
                assert_eq!(other.post("/v1/profiles/upsert").json(more).await.ok()["city"], "London");
            }
            "batch" => {
                let item = json!({"op": "upsert", "external_id": "crm-1", "labels": ["vip"]});
                other.post("/v1/profiles/batch").json(json!({"items": [item]})).await.ok();
            }
            _ => {
                let job = confirmed(&other, json!({"all": true}), json!({"type": "add_labels", "labels": ["vip"]})).await.is(202);
                finished(&other, &job).await;
            }
        }
        if way != "upsert with more" {
            same(&app.read(id(&ada)).await, &before);
        }
        let after = carried(app, &ada).await;
        assert_eq!(after[0], ruled[0], "{way}: a label that was not named is the rule's still");
        let told = ["name", "source", "rule_id"].map(|member| after[1][member].clone());
        assert_eq!(json!(told), json!(["vip", "manual", null]), "{way}");
        let actor = after[1]["actor"].as_str().unwrap_or_default();
        assert!(actor.starts_with("key:") && after[1]["created_at"].as_str() > ruled[1]["created_at"].as_str(), "{way}: {after:?}");
        // Whose it is by now, it stays.
        app.put(&path(&ada, "/labels/vip")).await.ok();
        assert_eq!(carried(app, &ada).await, after, "{way}");
    }
}

async fn a_label_taken_off_is_gone(app: &App) {
    let ada = app.person(ada()).await;
    let after = app.delete(&path(&ada, "/labels/vip")).await.ok();
    assert_eq!((&after["labels"], version(&after)), (&json!([]), 2));
    assert_eq!(carried(app, &ada).await, [Value::Null; 0]);
    assert_eq!(app.filtered(json!({"field": "labels", "op": "has", "value": "vip"})).await, [""; 0]);
    let entry = &app.history(id(&ada)).await[0];
    assert_eq!((&entry["action"], changes(entry)), (&json!("label_removed"), json!({"labels": [["vip"], null]})));
    app.delete(&path(&ada, "/labels/vip")).await.refused(404, "not_found");
    app.delete(&path(&ada, "/labels/%00")).await.refused(404, "not_found");
    assert_eq!(app.history(id(&ada)).await.len(), 2);
    let again = app.put(&path(&ada, "/labels/vip")).await.ok();
    assert_eq!((&again["labels"], carried(app, &ada).await[0]["created_at"] == again["updated_at"]), (&json!(["vip"]), true));
}

async fn awkward_names_are_names(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    for name in ["a/b", "a%2Fb", "?x=1&y#z", "王 😀", "a+b", "\"quoted\" O'Brien", "a\\b", "%", "'; DROP TABLE labels; --"] {
        let at = path(&person, &format!("/labels/{}", percent(name)));
        assert_eq!(app.put(&at).await.ok()["labels"], json!([name]));
        assert_eq!(names(app, &person).await, [name]);
        assert_eq!(app.delete(&at).await.ok()["labels"], json!([]), "{name}");
    }
}

async fn what_is_no_label_is_refused(app: &App) {
    let person = app.person(nobody("crm-1")).await;
    for name in ["%00", "%20", "a%0Ab", &"x".repeat(129)] {
        app.put(&path(&person, &format!("/labels/{name}"))).await.refused_at("name", "invalid_label");
    }
    app.put(&path(&person, "/labels/vip?colour=red")).await.refused(400, "invalid_query");
    app.put(&path(&person, &format!("/labels/{}", "x".repeat(128)))).await.ok();
}

async fn a_stale_tag_is_refused(app: &App) {
    let ada = app.person(ada()).await;
    app.put(&path(&ada, "/labels/new")).if_match(&ada).await.ok();
    app.put(&path(&ada, "/labels/newer")).if_match(&ada).await.refused(412, "version_mismatch");
    app.delete(&path(&ada, "/labels/vip")).if_match(&ada).await.refused(412, "version_mismatch");
    assert_eq!(names(app, &ada).await, ["new", "vip"]);
}

async fn a_merged_id_answers_for_the_survivor(app: &App) {
    let anonymous = json!({"events": [{"identities": [{"kind": "anonymous_id", "value": "a1"}], "type": "page"}]});
    let old = json!({"id": app.post("/v1/events").json(anonymous).await.ok()["results"][0]["profile_id"]});
    app.put(&path(&old, "/labels/visitor")).await.ok();
    let survivor = app.person(nobody("crm-1")).await;
    let login = json!({"events": [{
        "identities": [{"kind": "anonymous_id", "value": "a1"}, {"kind": "external_id", "value": "crm-1"}], "type": "login"
    }]});
    app.post("/v1/events").json(login).await.ok();
    assert_eq!(names(app, &survivor).await, ["visitor"]);
    assert_eq!(names(app, &old).await, ["visitor"]);
    let after = app.put(&path(&old, "/labels/customer")).await.ok();
    assert_eq!((&after["id"], &after["labels"]), (&survivor["id"], &json!(["customer", "visitor"])));
    assert_eq!(app.delete(&path(&old, "/labels/visitor")).await.ok()["labels"], json!(["customer"]));
}

async fn a_label_by_hand_outlives_the_rule_that_put_it_on(app: &App) {
    let british = json!({"field": "country", "op": "eq", "value": "GB"});
    let rule = app.post("/v1/label-rules").json(json!({"label": "uk", "filter": british, "on_exit": "remove"})).await.created();
    finished(app, &json!({"id": rule["job_id"]})).await;
    let person = async |name: &str| app.person(json!({"external_id": name, "country": "GB"})).await;
    let (named, named_at_once, left) = (person("a").await, person("b").await, person("c").await);
    for one in [&named, &named_at_once, &left] {
        let label = carried(app, one).await[0].clone();
        assert_eq!(json!([label["source"], label["rule_id"]]), json!(["rule", rule["id"]]));
    }
    same(&app.put(&path(&named, "/labels/uk")).await.ok(), &named);
    let moved = json!({"country": "US"});
    app.patch(&path(&named, "")).json(moved.clone()).await.ok();
    // In one request: what would take the label off, and the label by hand.
    app.post("/v1/profiles/upsert").json(json!({"external_id": "b", "country": "US", "labels": ["uk"]})).await.ok();
    app.patch(&path(&left, "")).json(moved).await.ok();
    assert_eq!(carried(app, &left).await, [Value::Null; 0]);
    for one in [&named, &named_at_once] {
        let label = carried(app, one).await[0].clone();
        assert_eq!(json!([label["name"], label["source"], label["rule_id"]]), json!(["uk", "manual", null]));
        assert_eq!(app.read(id(one)).await["labels"], json!(["uk"]));
    }
}

async fn a_merge_keeps_the_label_by_hand(app: &App) {
    let visit = json!({"events": [{"identities": [{"kind": "anonymous_id", "value": "a1"}], "type": "page"}]});
    let visitor = json!({"id": app.post("/v1/events").json(visit).await.ok()["results"][0]["profile_id"]});
    for label in ["by-hand", "by-rule"] {
        app.put(&path(&visitor, &format!("/labels/{label}"))).await.ok();
    }
    let survivor = app.person(json!({"external_id": "crm-1", "labels": ["by-hand", "by-rule"]})).await;
    by_a_rule(app, &visitor, "by-rule").await;
    by_a_rule(app, &survivor, "by-hand").await;
    let (of_visitor, of_survivor) = (carried(app, &visitor).await, carried(app, &survivor).await);
    let login = json!({"events": [{
        "identities": [{"kind": "anonymous_id", "value": "a1"}, {"kind": "external_id", "value": "crm-1"}], "type": "login"
    }]});
    app.post("/v1/events").json(login).await.ok();
    assert_eq!(carried(app, &survivor).await, [of_visitor[0].clone(), of_survivor[1].clone()]);
    assert_eq!(app.read(id(&survivor)).await["labels"], json!(["by-hand", "by-rule"]));
}

async fn a_profile_carries_at_most_two_hundred(app: &App) {
    let many: Vec<String> = (0..200).map(|n| format!("label-{n:03}")).collect();
    let person = app.person(json!({"external_id": "crm-1", "labels": many})).await;
    app.put(&path(&person, "/labels/one-more")).await.refused_at("/labels", "limit_exceeded");
    app.put(&path(&person, "/labels/label-007")).await.ok();
    assert_eq!(names(app, &person).await, many);
}

async fn the_catalogue_holds_every_name(app: &App) {
    let neighbour = app.neighbour();
    neighbour.person(ada()).await;
    assert_eq!(app.get("/v1/labels").await.ok(), json!({"data": [], "next_cursor": null}));
    let person = app.person(json!({"external_id": "crm-1", "labels": ["b", "d", "a"]})).await;
    for name in ["e", "c", "c"] {
        app.put(&path(&person, &format!("/labels/{name}"))).await.ok();
    }
    app.delete(&path(&person, "/labels/a")).await.ok();
    let whole = app.get("/v1/labels").await.ok();
    let told: Vec<&str> = list(&whole, "data").iter().filter_map(|l| l["name"].as_str()).collect();
    assert_eq!(told, ["a", "b", "c", "d", "e"], "one that nobody carries any more included");
    assert_eq!(whole["data"][0]["created_at"], person["created_at"]);
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get(&format!("/v1/labels?limit=2{cursor}")).await.ok();
        walked.extend(list(&page, "data").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(walked, list(&whole, "data"));
    for (query, code) in [("limit=0", "invalid_query"), ("colour=red", "invalid_query"), ("cursor=nonsense", "invalid_cursor")] {
        app.get(&format!("/v1/labels?{query}")).await.refused(400, code);
    }
}

async fn nobody_and_the_erased_carry_none(app: &App) {
    let gone = app.person(json!({"external_id": "crm-1", "labels": ["vip"]})).await;
    app.delete(&path(&gone, "")).await.ok();
    let nobody = json!({"id": "0192f0c1-2d3e-7000-8000-000000000000"});
    for (person, status, code) in [(gone, 410, "profile_erased"), (nobody, 404, "not_found")] {
        app.get(&path(&person, "/labels")).await.refused(status, code);
        app.put(&path(&person, "/labels/vip")).await.refused(status, code);
        app.delete(&path(&person, "/labels/vip")).await.refused(status, code);
    }
}
