//! Every route, in one table: it feeds the router and the document alike.

use utoipa_actix_web::service_config::ServiceConfig;

use crate::{api_keys, bulk, duplicates, erasures, events, jobs, labels, operations, profiles, properties, sessions, tracking, workspace};

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
        .service(profiles::timeline::profile_timeline)
        .service(profiles::sessions::profile_sessions)
        // Labels
        .service(labels::list_labels)
        .service(profiles::labels::profile_labels)
        .service(profiles::labels::add_label)
        .service(profiles::labels::remove_label)
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
        // Duplicates
        .service(duplicates::list::list_duplicates)
        .service(duplicates::scan::scan_duplicates)
        .service(duplicates::dismiss::dismiss_duplicate)
        .service(profiles::duplicates::profile_duplicates)
        // Erasures
        .service(erasures::read_erasure)
        // Bulk
        .service(bulk::preview::preview_bulk)
        .service(bulk::execute::execute_bulk)
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
        // Administration
        .service(workspace::read_workspace)
        .service(workspace::patch_workspace)
        .service(api_keys::list_api_keys)
        .service(api_keys::create_api_key)
        .service(api_keys::read_api_key)
        .service(api_keys::patch_api_key)
        .service(api_keys::rotate_api_key)
        .service(api_keys::delete_api_key)
        // Operations
        .service(operations::healthz)
        .service(operations::readyz);
}
