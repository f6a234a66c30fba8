//! Every route, in one table: it feeds the router and the document alike.

use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    api_keys, audit_log, bulk, changes, duplicates, erasures, events, imports, jobs, label_rules, labels, merges, operations, profiles,
    properties, rejected_events, segments, sessions, suppressions, tracking, webhooks, workspace,
};

/// Fixed paths come before `{id}`, since the first match wins.
pub fn all(config: &mut ServiceConfig) {
    config
        // Profiles
        .service(profiles::create::create_profile)
        .service(profiles::list::list_profiles)
        .service(profiles::search::search_profiles)
        .service(profiles::count::count_profiles)
        .service(profiles::lookup::lookup_profile)
        .service(profiles::lookup::lookup_profiles)
        .service(profiles::upsert::upsert_profile)
        .service(profiles::batch::batch_profiles)
        .service(profiles::export::export_profiles)
        .service(profiles::read::read_profile)
        .service(profiles::patch::patch_profile)
        .service(profiles::delete::delete_profile)
        .service(profiles::identities::add_identity)
        .service(profiles::identities::remove_identity)
        .service(profiles::history::profile_history)
        .service(profiles::access::export_profile)
        .service(profiles::timeline::profile_timeline)
        .service(profiles::sessions::profile_sessions)
        // Merges
        .service(merges::preview::preview_merge)
        .service(merges::create::create_merge)
        .service(merges::read::read_merge)
        .service(merges::revert::revert_merge)
        .service(profiles::merges::profile_merges)
        // Labels
        .service(labels::list::list_labels)
        .service(labels::create::create_label)
        .service(labels::read::read_label)
        .service(labels::patch::patch_label)
        .service(labels::delete::delete_label)
        .service(profiles::labels::profile_labels)
        .service(profiles::labels::add_label)
        .service(profiles::labels::remove_label)
        // Label rules
        .service(label_rules::list_label_rules)
        .service(label_rules::create_label_rule)
        .service(label_rules::read_label_rule)
        .service(label_rules::patch_label_rule)
        .service(label_rules::delete_label_rule)
        // Segments
        .service(segments::preview::preview_segment)
        .service(segments::list_segments)
        .service(segments::create_segment)
        .service(segments::members::segment_profiles)
        .service(segments::explanation::segment_explanation)
        .service(segments::read_segment)
        .service(segments::patch_segment)
        .service(segments::delete_segment)
        .service(segments::members::profile_segments)
        // Consent
        .service(profiles::consents::profile_consents)
        .service(profiles::consents::record_consent)
        .service(profiles::consents::consent_history)
        // Timeline
        .service(events::create::create_events)
        .service(events::read::read_event)
        .service(sessions::session_events)
        .service(sessions::read_session)
        // Tracking SDKs
        .configure(tracking::routes)
        .service(rejected_events::list_rejected_events)
        // Duplicates
        .service(duplicates::list::list_duplicates)
        .service(duplicates::scan::scan_duplicates)
        .service(duplicates::dismiss::dismiss_duplicate)
        .service(profiles::duplicates::profile_duplicates)
        // Erasures
        .service(erasures::read_erasure)
        .service(suppressions::list_suppressions)
        .service(suppressions::lookup_suppressions)
        .service(suppressions::lift_suppression)
        // Bulk
        .service(bulk::preview::preview_bulk)
        .service(bulk::execute::execute_bulk)
        // Imports
        .service(imports::create::create_import)
        // Jobs
        .service(jobs::list::list_jobs)
        .service(jobs::errors::job_errors)
        .service(jobs::cancel::cancel_job)
        .service(jobs::stream::stream_job)
        .service(jobs::read::read_job)
        // Properties
        .service(properties::list_properties)
        .service(properties::create_property)
        .service(properties::read_property)
        .service(properties::patch_property)
        .service(properties::delete_property)
        // Change feed
        .service(changes::list::list_changes)
        .service(changes::stream::stream_changes)
        // Webhooks
        .service(webhooks::list::list_webhooks)
        .service(webhooks::create::create_webhook)
        .service(webhooks::rotate_secret::rotate_webhook_secret)
        .service(webhooks::test::test_webhook)
        .service(webhooks::redeliver::redeliver)
        .service(webhooks::deliveries::list_deliveries)
        .service(webhooks::read::read_webhook)
        .service(webhooks::patch::patch_webhook)
        .service(webhooks::delete::delete_webhook)
        // Administration
        .service(workspace::read_workspace)
        .service(workspace::patch_workspace)
        .service(api_keys::list_api_keys)
        .service(api_keys::create_api_key)
        .service(api_keys::read_api_key)
        .service(api_keys::patch_api_key)
        .service(api_keys::rotate_api_key)
        .service(api_keys::delete_api_key)
        .service(audit_log::list_audit_log)
        // Operations
        .service(operations::healthz)
        .service(operations::readyz)
        .service(operations::metrics);
}
