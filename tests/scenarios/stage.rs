//! A platform on which something may be said: rules in force, content approved, a sender, a policy; the clock is the
//! test's. Every story ends with [`Stage::finish`], which proves each message that left; one that does not is a failure.

pub(crate) mod crowd;
pub(crate) mod intact;
mod proof;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use eventstore::Timestamp;
use rapport::demo::Cast;
use rapport::remote::{Remote, told};
use rapport_proto::content::v1::{AddReferenceRequest, Product, Reference, RegisterProductRequest};
use rapport_proto::delivery::v1::{
    GateStep, GetTouchRequest, ListTouchesRequest, RegisterSenderRequest, RequestTouchRequest,
    Sender, Touch, Verdict, VerdictOutcome,
};
use rapport_proto::feedback::v1::GetInvitationRequest;
use rapport_proto::journeys::v1::{
    Instance, ListEntryRefusalsRequest, ListInstanceStepsRequest, ListInstancesRequest,
    RequestEntryRequest, RequestEntryResponse,
};
use rapport_proto::profiles::v1::{
    ConsentKey, ContactPoint, NewInteraction, RecordConsentRequest, RecordInteractionsRequest,
    RegisterPartyRequest, RegisterSourceRequest, Verification, WithdrawConsentRequest, consent,
    new_interaction,
};
use rapport_proto::types::{Channel, PartyKind, Purpose, Regime};
use support::{Ground, Platform, Time, Topology};

use crate::NODE;

/// Monday, 10:00 in Berlin.
pub(crate) const START: &str = "2027-01-04T09:00:00Z";

/// Germany opts in and keeps quiet at night; the United States opt out; France has no pack.
pub(crate) const DE: &str = include_str!("stage/de.yaml");
const US: &str = include_str!("stage/us.yaml");
const SAFETY: &str = include_str!("stage/safety.yaml");
const CLAIM: &str = include_str!("stage/claim.yaml");
/// The module `letter`.
pub(crate) const LETTER: &str = include_str!("stage/letter.yaml");
/// The policy: writes a letter or does nothing.
pub(crate) const POLICY: &str = include_str!("stage/policy.yaml");

/// The setting that gives the clock to the test.
const SIMULATED: &str = "clock.mode=simulated";

/// A platform with its people and its time.
pub(crate) struct Stage {
    pub(crate) platform: Platform,
    pub(crate) time: Time,
    pub(crate) now: Timestamp,
    pub(crate) cast: Cast,
    pub(crate) remote: Remote,
    proven: bool,
}

/// Runs a story in one process and in one process per target, and proves what left.
#[macro_export]
macro_rules! in_both_topologies {
    (through $tell:ident: $($story:ident),* $(,)?) => {$(
        mod $story {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                super::$tell(support::Topology::Embedded, super::$story).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn distributed() {
                super::$tell(support::Topology::Distributed, super::$story).await;
            }
        }
    )*};
    ($($story:ident),* $(,)?) => {$(
        mod $story {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                $crate::stage::tell(support::Topology::Embedded, super::$story).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn distributed() {
                $crate::stage::tell(support::Topology::Distributed, super::$story).await;
            }
        }
    )*};
}

/// Tells a story on a stage where everything is in force.
pub(crate) async fn tell(topology: Topology, story: impl AsyncFnOnce(&mut Stage)) {
    let mut stage = Stage::open(topology).await;
    story(&mut stage).await;
    stage.finish().await;
}

impl Drop for Stage {
    fn drop(&mut self) {
        assert!(self.proven || std::thread::panicking(), "a story ends with Stage::finish");
    }
}

impl Stage {
    /// Everything in force, at [`START`].
    pub(crate) async fn open(topology: Topology) -> Self {
        Self::open_with(topology, |_| (), None).await
    }

    /// The same with other settings, and optionally a point at which a node parks.
    pub(crate) async fn open_with(
        topology: Topology,
        change: impl FnOnce(&mut Platform),
        failpoint: Option<&str>,
    ) -> Self {
        // What is furnished takes effect a few minutes later.
        let start = at(START);
        let begin = start.minus(Duration::from_secs(600));
        let platform = Platform::whole(topology, NODE).await;
        let mut stage = Self::running(platform, begin, change, failpoint).await;
        stage.furnish(start).await;
        stage
    }

    /// Everything in force before [`START`] on a simulated clock, then the real one goes on with the same data.
    pub(crate) async fn on_system_clock(
        topology: Topology,
        change: impl FnOnce(&mut Platform),
    ) -> Self {
        let platform = Platform::whole(topology, NODE).await;
        Self::on_system_clock_of(platform, change).await
    }

    /// The same on ground of the test's own.
    pub(crate) async fn on_ground(ground: Ground) -> Self {
        let platform = Platform::whole_on(ground, Topology::Distributed, NODE).await;
        Self::on_system_clock_of(platform, |_| ()).await
    }

    async fn on_system_clock_of(platform: Platform, change: impl FnOnce(&mut Platform)) -> Self {
        let mut stage = Self::running(platform, at("2026-01-05T09:00:00Z"), change, None).await;
        let start = stage.now.plus(Duration::from_secs(600));
        stage.furnish(start).await;
        stage.platform.stop();
        stage.platform.extra.retain(|it| it != SIMULATED);
        stage.platform.start(None);
        stage.meet();
        stage
    }

    /// Running on a simulated clock, with nothing in it.
    async fn running(
        mut platform: Platform,
        now: Timestamp,
        change: impl FnOnce(&mut Platform),
        failpoint: Option<&str>,
    ) -> Self {
        platform.extra.push(SIMULATED.into());
        let outbox = platform.folder().join("outbox").display().to_string();
        platform.extra.push(format!("delivery.outbox={outbox}"));
        change(&mut platform);
        platform.start(failpoint);
        let (mut time, cast) = (platform.time(), platform.cast());
        time.set(now).await.expect("time goes on");
        Self { remote: cast.author.clone(), platform, time, now, cast, proven: false }
    }

    /// Ends a story: lists all touches of the run and proves from the logs that each message that left was allowed to,
    /// was made of what was signed, and left once.
    pub(crate) async fn finish(mut self) {
        if self.platform.extra.iter().any(|it| it == SIMULATED) {
            self.settle().await;
        }
        let touches = self.all_touches().await;
        let outbox = (self.files().into_iter())
            .map(|file| {
                let name = file.file_name().expect("a name").to_string_lossy().into_owned();
                (name, std::fs::read_to_string(&file).expect("a text"))
            })
            .collect();
        let links = self.links(&touches).await;
        proof::Evidence::gather(&self.platform).await.check(&touches, &outbox, &links);
        self.proven = true;
    }

    /// The personal links that invitations left with, by touch.
    async fn links(&self, touches: &[Touch]) -> BTreeMap<String, String> {
        let mut links = BTreeMap::new();
        for request in touches.iter().filter_map(|it| it.request.as_ref()) {
            if request.invitation_id.is_empty() {
                continue;
            }
            let name = self.remote.name("invitations", &request.invitation_id);
            let ask = GetInvitationRequest { name, ..Default::default() };
            let told = told(self.remote.feedback.clone().get_invitation(ask).await);
            let token = told.expect("an invitation").token;
            let link = format!("http://{}/f/{token}", self.platform.address("gateway"));
            links.insert(request.touch_id.clone(), link);
        }
        links
    }

    /// Clients of the nodes as they are now.
    pub(crate) fn meet(&mut self) {
        self.time = self.platform.time();
        self.cast = self.platform.cast();
        self.remote = self.cast.author.clone();
    }

    async fn furnish(&mut self, start: Timestamp) {
        let effective = self.now.plus(Duration::from_secs(120));
        for pack in [DE, US] {
            let done = self.cast.put_pack_in_force(pack, Some(effective)).await;
            done.expect("a pack in force");
        }
        self.reach(self.now.plus(Duration::from_secs(180))).await;
        self.library().await;
        for (id, yaml) in [("onset", CLAIM), ("side-effects", SAFETY)] {
            self.cast.approve_claim(id, yaml).await.expect("an approved claim");
        }
        self.cast.approve_module("letter", LETTER).await.expect("an approved module");
        let sender = Sender {
            sender_id: "northwind".into(),
            legal_entity: "Northwind Pharma GmbH".into(),
            from_address: "news@northwind.example".into(),
            from_name: "Northwind".into(),
            unsubscribe_url: "https://northwind.example/u/acme/{token}".into(),
            ..Sender::default()
        };
        let request = RegisterSenderRequest {
            parent: self.remote.parent.clone(),
            sender: Some(sender),
            ..Default::default()
        };
        told(self.remote.delivery.clone().register_sender(request).await).expect("a sender");
        let request = RegisterSourceRequest {
            parent: self.remote.parent.clone(),
            source_id: "shop".into(),
            owner: "shop team".into(),
            ..Default::default()
        };
        told(self.remote.sources.clone().register_source(request).await).expect("a source");
        self.settle().await;
        self.cast.put_policy_live(POLICY).await.expect("a live policy");
        self.reach(start).await;
    }

    async fn library(&self) {
        let product = Product {
            product_id: "relievia".into(),
            brand: "Relievia".into(),
            indications: vec!["migraine".into()],
            markets: vec!["DE".into(), "US".into()],
        };
        let request = RegisterProductRequest {
            parent: self.remote.parent.clone(),
            product: Some(product),
            ..Default::default()
        };
        told(self.remote.library.clone().register_product(request).await).expect("a product");
        let reference = Reference {
            reference_id: "study".into(),
            citation: "An invented study".into(),
            ..Reference::default()
        };
        let request = AddReferenceRequest {
            parent: self.remote.parent.clone(),
            reference: Some(reference),
            ..Default::default()
        };
        told(self.remote.library.clone().add_reference(request).await).expect("a reference");
    }

    /// Lets everything happen that follows from what is there.
    pub(crate) async fn settle(&mut self) {
        self.time.settle().await.expect("time goes on");
    }

    /// Moves the clock to an instant; everything on the way happens at its own time.
    pub(crate) async fn reach(&mut self, instant: Timestamp) {
        self.time.reach(instant).await.expect("time goes on");
        self.now = instant;
    }

    /// Moves the clock on.
    pub(crate) async fn pass(&mut self, duration: Duration) {
        self.reach(self.now.plus(duration)).await;
    }

    /// Kills the node of a target and starts it again, at the time that it is.
    pub(crate) async fn restart(&mut self, target: &str) {
        self.platform.restart(target);
        self.meet();
        let now = self.now;
        self.time.set(now).await.expect("time goes on");
    }

    /// A physician with a verified e-mail address, who agreed to promotion by e-mail where that is needed.
    pub(crate) async fn physician(&mut self, name: &str, market: &str) -> String {
        let party_id = self.party(name, PartyKind::Hcp, market, "").await;
        if market != "US" {
            self.grant(&party_id, market).await;
        }
        self.settle().await;
        party_id
    }

    /// A party with a verified e-mail address.
    pub(crate) async fn party(
        &self,
        name: &str,
        kind: PartyKind,
        market: &str,
        time_zone: &str,
    ) -> String {
        let address = (Channel::Email, format!("{name}@example.org"));
        self.party_at(name, kind, market, time_zone, address).await
    }

    /// A party with a verified address on a channel.
    pub(crate) async fn party_at(
        &self,
        name: &str,
        kind: PartyKind,
        market: &str,
        time_zone: &str,
        (channel, value): (Channel, String),
    ) -> String {
        let request = RegisterPartyRequest {
            parent: self.remote.parent.clone(),
            kind: kind.into(),
            market: market.into(),
            language: "en".into(),
            time_zone: time_zone.into(),
            contact_points: vec![ContactPoint {
                channel: channel.into(),
                value,
                verification: Verification::Verified.into(),
                ..ContactPoint::default()
            }],
            request_id: format!("register-{name}"),
            ..Default::default()
        };
        let reply = told(self.remote.parties.clone().register_party(request).await);
        reply.expect("registered").party.expect("a party").party_id
    }

    /// Consent to promotion by e-mail.
    pub(crate) async fn grant(&self, party_id: &str, market: &str) {
        let request = RecordConsentRequest {
            parent: self.remote.parent.clone(),
            key: Some(consent_key(party_id, market)),
            state: consent::State::Granted.into(),
            regime_shown: Regime::OptIn.into(),
            source: "form".into(),
            text_version: "v1".into(),
            ..Default::default()
        };
        told(self.remote.consents.clone().record_consent(request).await).expect("granted");
    }

    /// The end of that consent.
    pub(crate) async fn withdraw_consent(&self, party_id: &str, market: &str) {
        let request = WithdrawConsentRequest {
            parent: self.remote.parent.clone(),
            key: Some(consent_key(party_id, market)),
            reason: "asked_to_stop".into(),
            source: "phone".into(),
            ..Default::default()
        };
        told(self.remote.consents.clone().withdraw_consent(request).await).expect("withdrawn");
    }

    /// An interaction that occurs now.
    pub(crate) async fn interaction(&mut self, party_id: &str, name: &str, message_id: &str) {
        let request = RecordInteractionsRequest {
            parent: self.remote.name("sources", "shop"),
            interactions: vec![NewInteraction {
                message_id: message_id.into(),
                name: name.into(),
                occurred_time: Some(self.now.to_proto()),
                party: Some(new_interaction::Party::PartyId(party_id.into())),
                ..NewInteraction::default()
            }],
            ..Default::default()
        };
        told(self.remote.sources.clone().record_interactions(request).await).expect("recorded");
    }

    /// Asks for a touch over the API.
    pub(crate) async fn ask_for_touch(&self, party_id: &str, module: &str) -> String {
        self.ask_for_touch_by(Channel::Email, party_id, module).await
    }

    /// The same on a channel.
    pub(crate) async fn ask_for_touch_by(
        &self,
        channel: Channel,
        party_id: &str,
        module: &str,
    ) -> String {
        let request = RequestTouchRequest {
            parent: self.remote.name("parties", party_id),
            module: module.into(),
            channel: channel.into(),
            sender_id: "northwind".into(),
            ..Default::default()
        };
        let reply = told(self.remote.delivery.clone().request_touch(request).await);
        reply.expect("taken on").touch.and_then(|it| it.request).expect("a touch").touch_id
    }

    /// A touch as it stands.
    pub(crate) async fn touch(&self, touch_id: &str) -> Touch {
        let name = self.remote.name("touches", touch_id);
        let request = GetTouchRequest { name, ..Default::default() };
        told(self.remote.delivery.clone().get_touch(request).await)
            .expect("a touch")
            .touch
            .expect("a touch")
    }

    /// The touches of a party, newest first.
    pub(crate) async fn touches(&self, party_id: &str) -> Vec<Touch> {
        let request = ListTouchesRequest {
            parent: self.remote.parent.clone(),
            party_id: party_id.into(),
            ..Default::default()
        };
        told(self.remote.delivery.clone().list_touches(request).await).expect("touches").touches
    }

    /// Every touch of the run, page by page.
    async fn all_touches(&self) -> Vec<Touch> {
        let (mut touches, mut page_token) = (Vec::new(), String::new());
        loop {
            let parent = self.remote.parent.clone();
            let request = ListTouchesRequest { parent, page_token, ..Default::default() };
            let page = told(self.remote.delivery.clone().list_touches(request).await);
            let page = page.expect("touches");
            touches.extend(page.touches);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return touches;
            }
        }
    }

    /// Names of the files in the outbox: what left.
    pub(crate) fn outbox(&self) -> Vec<String> {
        let name = |it: &PathBuf| it.file_name().map(|it| it.to_string_lossy().into_owned());
        let mut names: Vec<_> = self.files().iter().filter_map(name).collect();
        names.sort();
        names
    }

    /// The text of a letter as its recipient reads it.
    pub(crate) fn letter(&self, touch: &Touch) -> String {
        let id = touch.request.clone().unwrap_or_default().touch_id;
        let file = self.files().into_iter().find(|it| it.ends_with(format!("{id}.eml")));
        let file = std::fs::read_to_string(file.expect("it left")).expect("a text");
        proof::Message::of_mail(&file).text
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.platform.folder().join("outbox")];
        while let Some(folder) = folders.pop() {
            // Nothing left yet: there is no folder.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                // What a killed process was writing has a hidden name, and is no message.
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                match entry.path() {
                    folder if folder.is_dir() => folders.push(folder),
                    file if !hidden => files.push(file),
                    _ => {}
                }
            }
        }
        files
    }

    /// Asks for an entry over the API.
    pub(crate) async fn enter(&self, journey: &str, party_id: &str) -> RequestEntryResponse {
        let request = RequestEntryRequest {
            parent: self.remote.name("journeys", journey),
            party_id: party_id.into(),
            ..Default::default()
        };
        told(self.remote.journeys.clone().request_entry(request).await).expect("an answer")
    }

    /// The instances of a party, newest first.
    pub(crate) async fn instances(&self, party_id: &str) -> Vec<Instance> {
        let request = ListInstancesRequest {
            parent: self.remote.parent.clone(),
            party_id: party_id.into(),
            ..Default::default()
        };
        told(self.remote.journeys.clone().list_instances(request).await)
            .expect("instances")
            .instances
    }

    /// The only instance of a party.
    pub(crate) async fn instance(&self, party_id: &str) -> Instance {
        let mut all = self.instances(party_id).await;
        assert_eq!(all.len(), 1, "one instance: {all:?}");
        all.remove(0)
    }

    /// What happened to an instance: names of its events without their package.
    pub(crate) async fn steps(&self, instance: &Instance) -> Vec<String> {
        let request =
            ListInstanceStepsRequest { parent: instance.name.clone(), ..Default::default() };
        let steps = told(self.remote.journeys.clone().list_instance_steps(request).await);
        let last = |it: &str| it.rsplit('.').next().unwrap_or_default().to_owned();
        steps.expect("steps").steps.iter().map(|it| last(&it.r#type)).collect()
    }

    /// Rules that refused a party's entries.
    pub(crate) async fn refusals(&self, party_id: &str) -> Vec<String> {
        let request = ListEntryRefusalsRequest {
            parent: self.remote.parent.clone(),
            party_id: party_id.into(),
            ..Default::default()
        };
        let reply = told(self.remote.journeys.clone().list_entry_refusals(request).await);
        let rule =
            |it: rapport_proto::journeys::v1::EntryRefusal| it.refusal.unwrap_or_default().rule;
        reply.expect("refusals").refusals.into_iter().map(rule).collect()
    }
}

/// An instant.
pub(crate) fn at(text: &str) -> Timestamp {
    let parsed: jiff::Timestamp = text.parse().expect("an instant");
    Timestamp(parsed.as_microsecond())
}

/// Consent to promotion by e-mail of the sender of the stage.
pub(crate) fn consent_key(party_id: &str, market: &str) -> ConsentKey {
    ConsentKey {
        party_id: party_id.into(),
        purpose: Purpose::Promotional.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        market: market.into(),
    }
}

/// The verdict of a step.
pub(crate) fn verdict(touch: &Touch, step: GateStep) -> &Verdict {
    touch.verdicts.iter().find(|it| it.step() == step).expect("every step has a verdict")
}

/// Checks the proof of a message that left: eleven verdicts that pass, with what they stand on.
pub(crate) fn assert_proven(touch: &Touch) {
    assert_eq!(touch.verdicts.len(), 11, "{:#?}", touch.verdicts);
    for it in &touch.verdicts {
        assert_eq!(it.outcome(), VerdictOutcome::Pass, "{it:#?}");
        assert!(it.checked_at.is_some(), "{it:#?}");
    }
    let consent = verdict(touch, GateStep::Consent);
    let by_record = consent.proof_ids.iter().any(|it| it.starts_with("con_"));
    let by_rule = !consent.pack.is_empty() && consent.positions.contains_key("profiles");
    assert!(by_record || by_rule, "{consent:#?}");
    assert!(!touch.content.is_empty());
    for part in &touch.content {
        assert!(!part.signature_ids.is_empty() && part.content_hash.len() == 64, "{part:#?}");
    }
    assert_eq!(touch.render_hash.len(), 64);
}

/// Checks that the gate stopped a touch at a step, for a reason, and that nothing after it was reached.
pub(crate) fn assert_stopped(touch: &Touch, step: GateStep, reason: &str) {
    use rapport_proto::delivery::v1::touch::State;
    assert_eq!((touch.state(), touch.reason.as_str()), (State::Skipped, reason), "{touch:#?}");
    assert_eq!(touch.verdicts.len(), 11);
    for it in &touch.verdicts {
        let expected = match it.step().cmp(&step) {
            std::cmp::Ordering::Less => VerdictOutcome::Pass,
            std::cmp::Ordering::Equal => VerdictOutcome::Fail,
            std::cmp::Ordering::Greater => VerdictOutcome::NotReached,
        };
        assert_eq!(it.outcome(), expected, "{it:#?}");
    }
}
