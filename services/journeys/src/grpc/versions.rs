//! Changes of a journey's versions.

use chassis::status::Problem;
use eventstore::{Executed, Metadata};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::types::VersionInfo;

use super::Api;
use crate::domain::journey::{Command, Journey, State};
use crate::refusal;
use crate::view;

impl Api {
    pub(super) async fn change(
        &self,
        journey_id: &str,
        meta: &Metadata,
        command: Command,
    ) -> Result<Executed<State>, Problem> {
        self.deps.store.execute::<Journey>(journey_id, meta, command).await.map_err(refusal::of)
    }

    /// Changes a version of a journey that exists, and shows it.
    pub(super) async fn change_version(
        &self,
        tenant: &str,
        journey_id: &str,
        meta: &Metadata,
        version: u32,
        command: Command,
    ) -> Result<(Option<VersionInfo>, u64), Problem> {
        self.journey(tenant, journey_id).await?;
        let done = self.change(journey_id, meta, command).await?;
        Ok((done.state.info(version), done.position))
    }

    pub(super) async fn summary(
        &self,
        tenant: &str,
        journey_id: String,
        state: &State,
    ) -> Result<proto::JourneySummary, Problem> {
        let nodes =
            view::instance::by_node(self.deps.store.database(), tenant, &journey_id).await?;
        Ok(proto::JourneySummary {
            live_version: state.entering().unwrap_or(0),
            newest: state.versions.newest().and_then(|(version, _)| state.info(version)),
            running: nodes.iter().map(|(_, _, count)| count).sum(),
            journey_id,
        })
    }
}
