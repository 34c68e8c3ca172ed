//! Stories on a whole platform, in each topology. One binary; one file per story a user would tell.

mod a_click_unsubscribes;
mod a_holdout_gets_nothing;
mod a_journey_is_checked_before_it_is_published;
mod a_log_that_is_gone;
mod a_paused_journey_says_nothing;
mod a_policy_is_tried_on_what_was_decided;
mod a_restart_in_the_middle;
mod a_tampered_module_is_not_sent;
mod an_event_and_its_timeout_at_once;
mod an_exit_criterion_is_met_while_queued;
#[cfg(feature = "failpoints")]
mod an_order_before_the_wait_for_it;
mod behind_certificates;
mod calls_through_the_gateway;
mod caps_hold_under_concurrency;
mod clocks_and_calendars;
mod content_that_expires_while_a_touch_waits;
#[cfg(feature = "failpoints")]
mod crash_at_any_point;
mod deferred_mail_is_judged_again;
#[cfg(feature = "failpoints")]
mod delivery_survives_kills;
mod demo_orders;
mod figures;
mod kills_change_nothing;
mod log_nodes_fail;
mod nobody_without_a_good_token;
mod one_event_twice_is_one_event;
mod one_trace_per_command;
mod only_what_was_signed_is_said;
mod operators_steer_a_journey;
mod overload;
mod postgres_fails_over;
mod rights_of_a_target;
mod safety;
mod same_answers_in_every_topology;
mod servers_behind_tls;
mod stage;
mod surveys;
mod tracking_api;
mod tracking_api_bad_input;
#[cfg(feature = "failpoints")]
mod tracking_api_survives_kills;
mod tracking_api_takes_stock_sdks;
mod two_of_every_target;
mod what_a_country_forbids;
mod what_providers_report;
mod win_back_journey;
mod withdrawn_consent_stops_what_was_decided;
mod withdrawn_content_is_never_sent_again;

/// The node binary.
const NODE: &str = env!("CARGO_BIN_EXE_node");
