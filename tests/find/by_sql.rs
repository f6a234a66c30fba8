//! The stories of finding once more, on a server that keeps nothing in memory: the SQL plans, which answer while a
//! read model is being loaded, find the same people.

use people_tests::{App, Engine, Server, engine_stories};

use super::{agreement, lists, search};

engine_stories![the_rules_agree, every_piece_is_found, typing_finds, lists_walk_in_order, behaviour_is_counted];

async fn app(engine: Engine) -> App {
    App::on(Server::without_memory(engine).await)
}

async fn the_rules_agree(engine: Engine) {
    agreement::the_database_and_the_rules_name_the_same_people(&app(engine).await).await;
}

async fn behaviour_is_counted(engine: Engine) {
    crate::events::tallies_are_those_of_the_timeline(&app(engine).await).await;
    crate::long_timelines::a_timeline_grows_long_unnoticed(&app(engine).await).await;
    crate::long_timelines::long_and_short_are_merged_and_parted(&app(engine).await).await;
}

async fn every_piece_is_found(engine: Engine) {
    search::every_piece_of_every_field_finds_its_person(&app(engine).await).await;
    search::signs_are_letters(&app(engine).await).await;
    search::phones_are_found_by_any_punctuation(&app(engine).await).await;
    search::a_whole_identity_comes_first(&app(engine).await).await;
}

async fn typing_finds(engine: Engine) {
    search::typing_finds_at_every_letter(&app(engine).await).await;
    search::all_words_must_match_in_any_order(&app(engine).await).await;
    search::making_an_attribute_searchable_finds_what_was_written_before(&app(engine).await).await;
}

async fn lists_walk_in_order(engine: Engine) {
    lists::a_list_holds_whole_profiles(&app(engine).await).await;
    lists::every_sort_walks_everyone_once_each_way(&app(engine).await).await;
    lists::pages_stay_stable_while_people_are_added(&app(engine).await).await;
    lists::names_sort_as_people_read_them_and_nameless_come_last(&app(engine).await).await;
    lists::the_newest_change_comes_first(&app(engine).await).await;
    lists::a_cursor_belongs_to_its_question(&app(engine).await).await;
    lists::a_tampered_cursor_is_refused(&app(engine).await).await;
    lists::each_parameter_filters(&app(engine).await).await;
    lists::repeated_parameters_must_all_match(&app(engine).await).await;
    lists::bad_parameters_are_refused_by_name(&app(engine).await).await;
    lists::pages_have_fifty_people_unless_told_otherwise(&app(engine).await).await;
}
