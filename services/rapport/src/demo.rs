//! Stories told against a running platform, and the steps that they and the scenario tests share: what must be in
//! force before anything may be said.

mod chain;
pub mod orders;
mod time;

use std::time::Duration;

use anyhow::{Context as _, bail};
use eventstore::Timestamp;
use rapport_proto::content::v1::{
    ReviewClaimRequest, ReviewModuleRequest, ReviewRole, SaveClaimRequest, SaveModuleRequest,
    SubmitClaimRequest, SubmitModuleRequest, Verdict, save_claim_request, save_module_request,
};
use rapport_proto::decisioning::v1::{
    ActivatePolicyRequest, ActivateRulePackRequest, ApprovePolicyRequest, ApproveRulePackRequest,
    DraftPolicyRequest, DraftRulePackRequest, RulePack, SimulatePolicyRequest,
    SimulateRulePackRequest, draft_policy_request, draft_rule_pack_request,
};
use rapport_proto::feedback::v1::{
    ActivateSurveyRequest, ApproveSurveyRequest, DraftSurveyRequest, Survey, draft_survey_request,
};
use rapport_proto::journeys::v1::{
    ApproveJourneyRequest, CheckJourneyRequest, DraftJourneyRequest, Journey,
    PublishJourneyRequest, draft_journey_request,
};
use rapport_proto::kpis::v1::{
    ActivateMetricRequest, ApproveMetricRequest, DraftMetricRequest, Metric, draft_metric_request,
};
use rapport_proto::profiles::v1::{
    SaveSegmentRequest, SaveTraitRequest, save_segment_request, save_trait_request,
};
use rapport_proto::types::{Finding, VersionInfo, VersionState};

use crate::remote::{Refused, Remote, told};

pub(crate) use chain::chain;
pub use time::Time;

/// How long a step may take to follow from the one before.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a process may be away, or busy with one thing.
const OUTAGE: Duration = Duration::from_secs(600);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The people of a story: rules are approved by another person than their author, and content by one person for each
/// role.
#[derive(Clone)]
pub struct Cast {
    /// Writes.
    pub author: Remote,
    /// Approves what the author wrote.
    pub approver: Remote,
    /// Review content.
    pub reviewers: [(ReviewRole, &'static str, Remote); 3],
}

impl Cast {
    /// The people, each with clients of their own: made for a name, and the roles that the person's token must name.
    pub fn new(remote: impl Fn(&str, &[&str]) -> anyhow::Result<Remote>) -> anyhow::Result<Self> {
        Ok(Self {
            author: remote("ada", &[])?,
            approver: remote("ben", &[])?,
            reviewers: [
                (ReviewRole::Medical, "Dr Mira Medwin", remote("mira", &["medical"])?),
                (ReviewRole::Legal, "Leo Lex", remote("leo", &["legal"])?),
                (ReviewRole::Regulatory, "Rhea Rule", remote("rhea", &["regulatory"])?),
            ],
        })
    }

    /// Puts a country's rules in force from an instant on, a minute from now when none is given; returns that instant,
    /// or nothing if these very rules are in force already.
    pub async fn put_pack_in_force(
        &self,
        yaml: &str,
        from: Option<Timestamp>,
    ) -> anyhow::Result<Option<Timestamp>> {
        let pack = parse::<RulePack>(yaml)?;
        let name = self.author.name("rulepacks", &pack.rule_pack);
        let request = DraftRulePackRequest {
            parent: self.author.parent.clone(),
            definition: Some(draft_rule_pack_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        let drafted = told(self.author.packs.clone().draft_rule_pack(request).await)?;
        let VersionInfo { version, state, hash, .. } = sound(drafted.version, &drafted.findings)?;
        if state == VersionState::Live as i32 {
            return Ok(None);
        }
        let request = SimulateRulePackRequest { name: name.clone(), version, ..Default::default() };
        told(self.author.packs.clone().simulate_rule_pack(request).await)?;
        let request =
            ApproveRulePackRequest { name: name.clone(), version, hash, ..Default::default() };
        told(self.approver.packs.clone().approve_rule_pack(request).await)?;
        let request = ActivateRulePackRequest {
            name,
            version,
            effective_time: from.map(Timestamp::to_proto),
            ..Default::default()
        };
        told(self.approver.packs.clone().activate_rule_pack(request).await)?;
        Ok(Some(from.unwrap_or_else(|| Timestamp::real().plus(Duration::from_secs(61)))))
    }

    /// Saves a claim, has it reviewed by every role that is required, and so approved.
    pub async fn approve_claim(&self, claim_id: &str, yaml: &str) -> anyhow::Result<()> {
        let request = SaveClaimRequest {
            parent: self.author.parent.clone(),
            claim_id: claim_id.into(),
            definition: Some(save_claim_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        let version = told(self.author.library.clone().save_claim(request).await)?.version;
        let name = self.author.name("claims", claim_id);
        let request = SubmitClaimRequest { name: name.clone(), version, ..Default::default() };
        let claim = told(self.author.library.clone().submit_claim(request).await)?.claim;
        let claim = claim.unwrap_or_default();
        let submitted = claim.versions.iter().find(|it| it.version == version);
        let submitted = submitted.context("the claim has the version that was submitted")?;
        for (role, printed_name, reviewer) in self.required(submitted.roles().collect()) {
            let request = ReviewClaimRequest {
                name: name.clone(),
                version,
                role: (*role).into(),
                verdict: Verdict::Approve.into(),
                content_hash: submitted.content_hash.clone(),
                printed_name: (*printed_name).into(),
                meaning: "I approve this claim.".into(),
                ..Default::default()
            };
            told(reviewer.library.clone().review_claim(request).await)?;
        }
        Ok(())
    }

    /// Saves a module, has it reviewed by every role that is required, and so approved; returns its version and hash.
    pub async fn approve_module(
        &self,
        module_id: &str,
        yaml: &str,
    ) -> anyhow::Result<(u32, String)> {
        let request = SaveModuleRequest {
            parent: self.author.parent.clone(),
            module_id: module_id.into(),
            definition: Some(save_module_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        let version = told(self.author.modules.clone().save_module(request).await)?.version;
        let name = self.author.name("modules", module_id);
        let request = SubmitModuleRequest { name: name.clone(), version, ..Default::default() };
        let module = told(self.author.modules.clone().submit_module(request).await)?.module;
        let module = module.unwrap_or_default();
        let submitted = module.versions.iter().find(|it| it.version == version);
        let submitted = submitted.context("the module has the version that was submitted")?;
        for (role, printed_name, reviewer) in self.required(submitted.roles().collect()) {
            let request = ReviewModuleRequest {
                name: name.clone(),
                version,
                role: (*role).into(),
                verdict: Verdict::Approve.into(),
                content_hash: submitted.content_hash.clone(),
                printed_name: (*printed_name).into(),
                meaning: "I approve this content.".into(),
                ..Default::default()
            };
            told(reviewer.modules.clone().review_module(request).await)?;
        }
        Ok((version, submitted.content_hash.clone()))
    }

    fn required(
        &self,
        roles: Vec<ReviewRole>,
    ) -> impl Iterator<Item = &(ReviewRole, &'static str, Remote)> {
        self.reviewers.iter().filter(move |it| roles.contains(&it.0))
    }

    /// Puts a policy live.
    pub async fn put_policy_live(&self, yaml: &str) -> anyhow::Result<u32> {
        let request = DraftPolicyRequest {
            parent: self.author.parent.clone(),
            definition: Some(draft_policy_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        let drafted = told(self.author.policies.clone().draft_policy(request).await)?;
        let VersionInfo { version, state, hash, .. } = sound(drafted.version, &drafted.findings)?;
        if state == VersionState::Live as i32 {
            return Ok(version);
        }
        let name = self.author.name("policies", "default");
        let request = SimulatePolicyRequest { name: name.clone(), version, ..Default::default() };
        told(self.author.policies.clone().simulate_policy(request).await)?;
        let request =
            ApprovePolicyRequest { name: name.clone(), version, hash, ..Default::default() };
        told(self.approver.policies.clone().approve_policy(request).await)?;
        let request = ActivatePolicyRequest { name, version, ..Default::default() };
        told(self.approver.policies.clone().activate_policy(request).await)?;
        Ok(version)
    }

    /// Saves a trait; it is live at once.
    pub async fn save_trait(&self, yaml: &str) -> anyhow::Result<()> {
        let request = SaveTraitRequest {
            parent: self.author.parent.clone(),
            definition: Some(save_trait_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        told(self.author.segments.clone().save_trait(request).await)?;
        Ok(())
    }

    /// Saves a segment; it is live at once.
    pub async fn save_segment(&self, yaml: &str) -> anyhow::Result<()> {
        let request = SaveSegmentRequest {
            parent: self.author.parent.clone(),
            definition: Some(save_segment_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        told(self.author.segments.clone().save_segment(request).await)?;
        Ok(())
    }

    /// Puts a survey live.
    pub async fn put_survey_live(&self, yaml: &str) -> anyhow::Result<u32> {
        let survey = parse::<Survey>(yaml)?;
        let name = self.author.name("surveys", &survey.survey);
        let request = DraftSurveyRequest {
            parent: self.author.parent.clone(),
            definition: Some(draft_survey_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        let drafted = told(self.author.surveys.clone().draft_survey(request).await)?;
        let VersionInfo { version, state, hash, .. } = sound(drafted.version, &drafted.findings)?;
        if state == VersionState::Live as i32 {
            return Ok(version);
        }
        let request =
            ApproveSurveyRequest { name: name.clone(), version, hash, ..Default::default() };
        told(self.approver.surveys.clone().approve_survey(request).await)?;
        let request = ActivateSurveyRequest { name, version, ..Default::default() };
        told(self.approver.surveys.clone().activate_survey(request).await)?;
        Ok(version)
    }

    /// Puts a metric live.
    pub async fn put_metric_live(&self, yaml: &str) -> anyhow::Result<u32> {
        let metric = parse::<Metric>(yaml)?;
        let name = self.author.name("metrics", &metric.metric);
        let request = DraftMetricRequest {
            parent: self.author.parent.clone(),
            definition: Some(draft_metric_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        let drafted = told(self.author.metrics.clone().draft_metric(request).await)?;
        let VersionInfo { version, state, hash, .. } = sound(drafted.version, &drafted.findings)?;
        if state == VersionState::Live as i32 {
            return Ok(version);
        }
        let request =
            ApproveMetricRequest { name: name.clone(), version, hash, ..Default::default() };
        told(self.approver.metrics.clone().approve_metric(request).await)?;
        let request = ActivateMetricRequest { name, version, ..Default::default() };
        told(self.approver.metrics.clone().activate_metric(request).await)?;
        Ok(version)
    }

    /// Has a journey checked and approved, and publishes it.
    pub async fn publish_journey(&self, yaml: &str) -> anyhow::Result<u32> {
        let journey = parse::<Journey>(yaml)?;
        let name = self.author.name("journeys", &journey.journey);
        let request = DraftJourneyRequest {
            parent: self.author.parent.clone(),
            definition: Some(draft_journey_request::Definition::Yaml(yaml.to_owned())),
            ..Default::default()
        };
        let drafted = told(self.author.journeys.clone().draft_journey(request).await)?;
        let VersionInfo { version, state, hash, .. } = sound(drafted.version, &drafted.findings)?;
        if state == VersionState::Live as i32 {
            return Ok(version);
        }
        let request = CheckJourneyRequest { name: name.clone(), version, ..Default::default() };
        let checked = told(self.author.journeys.clone().check_journey(request).await)?;
        sound(checked.version, &checked.findings)?;
        let request =
            ApproveJourneyRequest { name: name.clone(), version, hash, ..Default::default() };
        told(self.approver.journeys.clone().approve_journey(request).await)?;
        let request = PublishJourneyRequest { name, version, ..Default::default() };
        let published = told(self.approver.journeys.clone().publish_journey(request).await)?;
        sound(published.version, &published.findings)?;
        Ok(version)
    }
}

/// Waits until something is there, half a minute at most.
pub async fn until<T>(
    what: &str,
    look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    until_within(PATIENCE, what, look).await
}

/// Waits until something is there.
pub async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let give_up = tokio::time::Instant::now() + patience;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if tokio::time::Instant::now() > give_up {
            bail!("not within {} s: {what}", patience.as_secs());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Asks again while the answer is one that may pass, for at most [`OUTAGE`]: a process is killed and comes back.
pub(crate) async fn again<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, Refused>,
) -> anyhow::Result<T> {
    let give_up = tokio::time::Instant::now() + OUTAGE;
    loop {
        match ask().await {
            Err(refused) if refused.may_pass() && tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            answered => return answered.with_context(|| what.to_owned()),
        }
    }
}

fn parse<M: prost::Message + prost::Name + Default>(yaml: &str) -> anyhow::Result<M> {
    authored::document::parse(yaml).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })
}

/// A version without findings, or the findings as an error.
fn sound(version: Option<VersionInfo>, findings: &[Finding]) -> anyhow::Result<VersionInfo> {
    if !findings.is_empty() {
        let lines: Vec<_> =
            findings.iter().map(|it| format!("{}: {}: {}", it.place, it.code, it.text)).collect();
        bail!("the check found:\n{}", lines.join("\n"));
    }
    version.context("the answer holds no version")
}
