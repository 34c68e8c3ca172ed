//! What every story ends with: all touches of the run, and for each message that left the proof that it was lawful, made
//! again from the logs. Nothing is believed because a touch says so:
//!
//! | a touch says | is looked up |
//! |---|---|
//! | eleven verdicts | all pass, in order, each at an instant and at positions that exist |
//! | a consent, or a rule and a position | in `profiles`: granted at that position, for this purpose, channel, sender and market, not run out; or in the pack's line, and nobody had objected at that position |
//! | content hashes and signatures | in `content`: the bytes hash to it, every role signed that hash, nobody twice, the author not at all |
//! | a render hash | rendered here again, from the bytes that were signed |
//! | that it was sent | one success in its stream under one key; one file in the outbox, with the bytes that were rendered; of an invitation with its personal link in the place that was rendered for it |

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{Timestamp, digest, hex};
use prost::Message as _;
use rapport_proto::content::v1::{
    ClaimContent, ClaimDraftSaved, ClaimSubmitted, ClaimVerdictRecorded, ModuleContent,
    ModuleDraftSaved, ModuleSubmitted, ModuleVerdictRecorded, ReviewRole, Signature, Slot,
    SlotKind, Variant, Verdict as Reviewed,
};
use rapport_proto::decisioning::v1::{ConsentLine, Effect, RulePack, RulePackActivated};
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::delivery::v1::{
    ContentPart, GateStep, Touch, TouchAttempted, TouchReady, TouchResolved, TouchSent, Verdict,
    VerdictOutcome,
};
use rapport_proto::feedback::v1::InvitationIssued;
use rapport_proto::journeys::v1::InstanceTouchRequested;
use rapport_proto::profiles::v1::{ConsentDenied, ConsentGranted, ConsentKey, ConsentWithdrawn};
use rapport_proto::purpose_of;
use rapport_proto::types::{Channel, Envelope, Purpose, Regime};
use support::Platform;

use super::verdict;

/// The slot of an invitation's module that takes the personal link.
const SURVEY: &str = "survey";

/// A fact of a log.
struct Fact {
    position: u64,
    envelope: Envelope,
}

impl Fact {
    fn is<M: prost::Name>(&self) -> bool {
        self.envelope.r#type == M::full_name()
    }

    /// The payload, if it is of this type.
    fn read<M: prost::Message + prost::Name + Default>(&self) -> Option<M> {
        self.is::<M>().then(|| M::decode(&*self.envelope.payload).expect("a payload of its type"))
    }
}

/// The logs of a run.
pub(super) struct Evidence(BTreeMap<&'static str, Vec<Fact>>);

/// A version of a claim or module as it was written and signed.
struct Written {
    content: Vec<u8>,
    author: String,
    roles: BTreeSet<i32>,
    signatures: Vec<(i32, Reviewed, Signature)>,
}

impl Evidence {
    pub(super) async fn gather(platform: &Platform) -> Self {
        let mut logs = BTreeMap::new();
        for target in rapport::targets::TARGETS {
            let log = platform.log_of(target.name).await.into_iter();
            let facts = log.map(|(position, envelope)| Fact { position, envelope }).collect();
            logs.insert(target.name, facts);
        }
        Self(logs)
    }

    fn log(&self, source: &str) -> &[Fact] {
        self.0.get(source).map(Vec::as_slice).unwrap_or_default()
    }

    fn stream<'a>(&'a self, source: &str, stream: &'a str) -> impl Iterator<Item = &'a Fact> {
        self.log(source).iter().filter(move |it| it.envelope.stream == stream)
    }

    /// Checks the run: `touches` are all that the API lists, `outbox` the files that left with their text.
    /// `links` are the personal links that invitations left with, by touch.
    pub(super) fn check(
        &self,
        touches: &[Touch],
        outbox: &BTreeMap<String, String>,
        links: &BTreeMap<String, String>,
    ) {
        let listed: BTreeSet<_> = touches.iter().map(id).collect();
        let recorded = self.log("delivery").iter();
        let recorded: BTreeSet<_> = recorded
            .filter_map(|it| it.envelope.stream.strip_prefix("touch/").map(str::to_owned))
            .collect();
        assert_eq!(listed, recorded, "every touch is listed");
        assert_eq!(listed.len(), touches.len(), "no touch is listed twice");
        for touch in touches.iter().filter(|it| left(it)) {
            let sent = self.as_it_left(touch);
            self.asked_for(&sent);
            self.proven(&sent);
            // A task that was done was judged again then.
            if touch.state() == State::Completed {
                self.proven(touch);
            }
        }
        self.left_once(touches, outbox, links);
    }

    /// A touch as it stood when it left: what became of a task since does not count.
    fn as_it_left(&self, touch: &Touch) -> Touch {
        let stream = format!("touch/{}", id(touch));
        let facts: Vec<_> = self.stream("delivery", &stream).collect();
        let ready = facts.iter().filter_map(|it| it.read::<TouchReady>()).next_back();
        let ready = ready.expect("the gate let it pass");
        let mut told = facts.iter().filter_map(|it| {
            let sent = it.read::<TouchSent>().and_then(|it| it.verdict);
            sent.or_else(|| it.read::<TouchResolved>().filter(|it| it.sent)?.verdict)
        });
        let not_told = Verdict {
            step: GateStep::Provider.into(),
            outcome: VerdictOutcome::NotReached.into(),
            ..Verdict::default()
        };
        let mut verdicts = ready.verdicts;
        verdicts.push(told.next_back().unwrap_or(not_told));
        let (content, render_hash) = (ready.content, ready.render_hash);
        let left = Touch { verdicts, content, render_hash, market: ready.market, ..touch.clone() };
        let task = matches!(touch.state(), State::Completed | State::Withdrawn);
        assert!(task || left == *touch, "the touch tells what the log does: {left:#?} {touch:#?}");
        left
    }

    /// Checks the proof of a message that left, or may have left.
    fn proven(&self, touch: &Touch) {
        self.verdicts(touch);
        let content = self.content(touch);
        let purpose = purpose_of(content.content_class());
        self.consent(touch, purpose);
        self.country_rule(touch);
    }

    fn verdicts(&self, touch: &Touch) {
        let steps: Vec<_> = touch.verdicts.iter().map(|it| it.step).collect();
        assert_eq!(steps, (1..=11).collect::<Vec<_>>(), "{touch:#?}");
        let sent = touch.send_time.is_some();
        // Of what may have left, the provider has not told.
        for it in touch.verdicts.iter().filter(|it| sent || it.step() != GateStep::Provider) {
            assert_eq!(it.outcome(), VerdictOutcome::Pass, "{touch:#?}");
            assert!(it.checked_at.is_some(), "{it:#?}");
            for (source, position) in &it.positions {
                let head = self.log(source).last().map_or(0, |it| it.position);
                assert!(*position <= head, "{source} ends at {head}: {it:#?}");
            }
        }
    }

    /// What a journey asked for is what its instance asked for; what carries a question is what was issued for it.
    fn asked_for(&self, touch: &Touch) {
        let request = touch.request.clone().unwrap_or_default();
        if !request.invitation_id.is_empty() {
            let stream = format!("invitation/{}", request.invitation_id);
            let issued = self
                .stream("feedback", &stream)
                .find_map(|fact| Some((fact.position, fact.read::<InvitationIssued>()?)));
            let (position, issued) = issued.expect("the invitation was issued");
            assert_eq!(request.positions.get("feedback"), Some(&position), "{request:#?}");
            let asked = (&issued.touch_id, &issued.module, &issued.party_id);
            assert_eq!(asked, (&request.touch_id, &request.module, &request.party_id));
        }
        if request.instance_id.is_empty() {
            return;
        }
        let stream = format!("instance/{}", request.instance_id);
        let asked = self.stream("journeys", &stream).find_map(|fact| {
            let it: InstanceTouchRequested = fact.read()?;
            (it.touch_id == request.touch_id).then_some((fact.position, it))
        });
        let (position, asked) = asked.expect("the instance asked for it");
        assert_eq!(request.positions.get("journeys"), Some(&position), "{request:#?}");
        assert_eq!((&asked.module, &asked.party_id), (&request.module, &request.party_id));
        let live = verdict(touch, GateStep::Live);
        assert_eq!(live.proof_ids, [request.instance_id], "{live:#?}");
    }

    fn consent(&self, touch: &Touch, purpose: Purpose) {
        let found = verdict(touch, GateStep::Consent);
        let request = touch.request.clone().unwrap_or_default();
        let position = found.positions.get("profiles").copied().unwrap_or_default();
        assert!(position > 0, "where it was looked up: {found:#?}");
        let key = ConsentKey {
            party_id: request.party_id,
            purpose: purpose.into(),
            channel: request.channel,
            sender_id: request.sender_id,
            market: touch.market.clone(),
        };
        let stated = self.stated(&key, position);
        let record = found.proof_ids.iter().find(|it| it.starts_with("con_"));
        let Some(record) = record else {
            assert_eq!(stated.map(|it| it.1), None, "nobody had said anything: {found:#?}");
            return self.regime(found, &key);
        };
        let (stream, granted) = stated.expect("a consent of this key before the position");
        assert_eq!(stream, format!("consent/{record}"), "{found:#?}");
        let granted = granted.expect("granted");
        let checked_at = instant(found.checked_at.as_ref());
        let effective_at = granted.proof.as_ref().and_then(|it| it.effective_at.as_ref());
        assert!(instant(effective_at) <= checked_at, "{granted:#?}");
        let ends = granted.expires_at.as_ref().map(|it| instant(Some(it)));
        assert!(ends.is_none_or(|it| it > checked_at), "{granted:#?}");
    }

    /// The last statement about a key up to a position of `profiles`: its stream, and the grant if it is one.
    fn stated(&self, key: &ConsentKey, position: u64) -> Option<(String, Option<ConsentGranted>)> {
        let until = self.log("profiles").iter().filter(|it| it.position <= position);
        until
            .filter_map(|fact| {
                let granted = fact.read::<ConsentGranted>();
                let about = granted.as_ref().and_then(|it| it.key.clone());
                let about = about
                    .or_else(|| fact.read::<ConsentDenied>().and_then(|it| it.key))
                    .or_else(|| fact.read::<ConsentWithdrawn>().and_then(|it| it.key));
                (about.as_ref() == Some(key)).then(|| (fact.envelope.stream.clone(), granted))
            })
            .next_back()
    }

    /// The rule that did without a record stands in the version of the pack that is named.
    fn regime(&self, found: &Verdict, key: &ConsentKey) {
        let document = self.pack(&found.pack, found.pack_version);
        let fits =
            |it: &&ConsentLine| it.purpose == key.purpose && it.channels.contains(&key.channel);
        let line = document.consent.iter().find(fits).expect("a line for the purpose and channel");
        assert!(matches!(line.regime(), Regime::OptOut | Regime::NotRequired), "{line:#?}");
        assert_eq!(format!("REGIME_{}", found.rule), line.regime().as_str_name());
    }

    fn country_rule(&self, touch: &Touch) {
        let found = verdict(touch, GateStep::CountryRule);
        let document = self.pack(&found.pack, found.pack_version);
        let line = document.outbound.iter().find(|it| it.id == found.rule).expect("the line");
        assert_eq!(line.effect(), Effect::Allow, "{line:#?}");
    }

    /// A version of a pack, activated itself or inherited by one that was.
    fn pack(&self, pack: &str, version: u32) -> RulePack {
        let activated = self.log("decisioning").iter().filter_map(Fact::read::<RulePackActivated>);
        let mut documents = activated.flat_map(|it| {
            let own = (it.market, it.version, it.document);
            let inherited = it.inherited.into_iter().map(|it| (it.pack, it.version, it.document));
            std::iter::once(own).chain(inherited)
        });
        let found = documents.find(|it| it.0 == pack && it.1 == version);
        found.and_then(|it| it.2).unwrap_or_else(|| panic!("{pack} {version} was never in force"))
    }

    /// Checks every part and the rendering; returns the content of the root.
    fn content(&self, touch: &Touch) -> ModuleContent {
        let found = verdict(touch, GateStep::Content);
        let mut claims = BTreeMap::new();
        let mut modules = Vec::new();
        for part in &touch.content {
            for proof in part.signature_ids.iter().chain([&part.content_hash]) {
                assert!(found.proof_ids.contains(proof), "{proof} is no proof of {found:#?}");
            }
            let written = self.signed(part, instant(found.checked_at.as_ref()));
            match part.kind.as_str() {
                "claim" => {
                    let content = ClaimContent::decode(&*written.content).expect("a claim");
                    claims.insert(part.id.clone(), content.text);
                }
                _ => modules.push(ModuleContent::decode(&*written.content).expect("a module")),
            }
        }
        let root = modules.first().cloned().expect("what was rendered");
        assert_eq!(modules.len(), 1, "no story puts modules into modules");
        let render = verdict(touch, GateStep::Render);
        assert_eq!(render.proof_ids, std::slice::from_ref(&touch.render_hash), "{render:#?}");
        self.rendered(touch, &root, &claims);
        root
    }

    /// Checks that the bytes of a part are those that every role signed before an instant.
    fn signed(&self, part: &ContentPart, at: Timestamp) -> Written {
        let written = self.written(part);
        assert_eq!(hex(&digest(&written.content)), part.content_hash, "{part:#?}");
        let signatures: Vec<_> = (part.signature_ids.iter())
            .map(|id| {
                let found = written.signatures.iter().find(|it| it.2.signature_id == *id);
                found.unwrap_or_else(|| panic!("{id} was never given: {part:#?}"))
            })
            .collect();
        let roles: BTreeSet<_> = signatures.iter().map(|it| it.0).collect();
        assert!(!written.roles.is_empty() && roles == written.roles, "{roles:?} {part:#?}");
        let signers: BTreeSet<_> = signatures.iter().map(|it| it.2.signer.as_str()).collect();
        assert_eq!(signers.len(), signatures.len(), "one person for each role");
        assert!(!signers.contains(written.author.as_str()), "the author signs nothing");
        for (role, verdict, signature) in signatures {
            assert_ne!(*role, ReviewRole::Unspecified as i32);
            assert_eq!(*verdict, Reviewed::Approve, "{signature:#?}");
            assert_eq!(signature.content_hash, part.content_hash);
            assert!(instant(signature.signed_at.as_ref()) <= at, "{signature:#?}");
            assert!(signature.authenticated_at.is_some(), "{signature:#?}");
            assert!(!signature.printed_name.is_empty() && !signature.meaning.is_empty());
        }
        written
    }

    /// A version of a claim or module as the log of `content` has it.
    fn written(&self, part: &ContentPart) -> Written {
        let mut written = None;
        let stream = format!("{}/{}", part.kind, part.id);
        let of = |version: u32| version == part.version;
        for fact in self.stream("content", &stream) {
            let drafted = (fact.read::<ModuleDraftSaved>())
                .map(|it| (it.version, it.content, it.author))
                .or_else(|| {
                    let it = fact.read::<ClaimDraftSaved>()?;
                    Some((it.version, it.content, it.author))
                });
            if let Some((_, content, author)) = drafted.filter(|it| of(it.0)) {
                let (roles, signatures) = (BTreeSet::new(), Vec::new());
                written = Some(Written { content, author, roles, signatures });
            }
            let Some(written) = &mut written else { continue };
            let submitted = (fact.read::<ModuleSubmitted>())
                .map(|it| (it.version, it.roles))
                .or_else(|| fact.read::<ClaimSubmitted>().map(|it| (it.version, it.roles)));
            if let Some((_, roles)) = submitted.filter(|it| of(it.0)) {
                written.roles = roles.into_iter().collect();
            }
            let spoken = (fact.read::<ModuleVerdictRecorded>())
                .map(|it| (it.version, it.role, it.verdict(), it.signature))
                .or_else(|| {
                    let it = fact.read::<ClaimVerdictRecorded>()?;
                    Some((it.version, it.role, it.verdict(), it.signature))
                });
            if let Some((_, role, verdict, signature)) = spoken.filter(|it| of(it.0)) {
                written.signatures.push((role, verdict, signature.unwrap_or_default()));
            }
        }
        written.unwrap_or_else(|| panic!("{stream} has no version {}", part.version))
    }

    /// Checks that a variant of what was signed renders to the hash on the touch.
    fn rendered(&self, touch: &Touch, root: &ModuleContent, claims: &BTreeMap<String, String>) {
        let request = touch.request.clone().unwrap_or_default();
        let of_channel = |it: &&Variant| it.channel() == request.channel();
        let hashes: Vec<_> = (root.variants.iter().filter(of_channel))
            .map(|it| Message::of(it, &root.slots, claims, &request.slots).hash())
            .collect();
        assert!(hashes.contains(&touch.render_hash), "{hashes:?} {touch:#?}");
    }

    /// Nothing left twice: neither under two keys, nor under one key twice, nor as two files.
    fn left_once(
        &self,
        touches: &[Touch],
        outbox: &BTreeMap<String, String>,
        links: &BTreeMap<String, String>,
    ) {
        let mut keys = BTreeSet::new();
        for touch in touches {
            let stream = format!("touch/{}", id(touch));
            let facts: Vec<_> = self.stream("delivery", &stream).collect();
            let attempts: Vec<TouchAttempted> = facts.iter().filter_map(|it| it.read()).collect();
            let numbers: Vec<_> = attempts.iter().map(|it| it.attempt as usize).collect();
            assert_eq!(numbers, (1..=attempts.len()).collect::<Vec<_>>(), "{stream}");
            let of_touch: BTreeSet<_> = attempts.iter().map(|it| &it.idempotency_key).collect();
            assert!(of_touch.len() <= 1, "one key a touch: {of_touch:?}");
            let sent = facts.iter().filter(|it| it.is::<TouchSent>()).count()
                + facts
                    .iter()
                    .filter_map(|it| it.read::<TouchResolved>())
                    .filter(|it| it.sent)
                    .count();
            assert_eq!(sent, usize::from(touch.send_time.is_some()), "{stream} was sent once");
            for key in of_touch {
                assert!(keys.insert(key.clone()), "{key} is the key of another touch too");
            }
            let by_file = attempts.iter().any(|it| it.adapter == "file");
            let file = outbox.get(&file_of(touch));
            assert!(file.is_none() || (by_file && left(touch)), "{stream} must not have left");
            if by_file && touch.send_time.is_some() {
                let file = file.unwrap_or_else(|| panic!("{stream} left no file"));
                Self::file(touch, file, links.get(&id(touch)));
            }
        }
        let expected: BTreeSet<_> = touches.iter().map(file_of).collect();
        for name in outbox.keys() {
            assert!(expected.contains(name), "{name} is no touch's");
        }
    }

    /// What left is what was rendered. Of an invitation its place for the link was: exactly there the personal link of
    /// this invitation stands, which was placed when the message was handed over.
    fn file(touch: &Touch, file: &str, link: Option<&String>) {
        let request = touch.request.clone().unwrap_or_default();
        assert_eq!(link.is_some(), !request.invitation_id.is_empty(), "{touch:#?}");
        let mut found = match request.channel() {
            Channel::Email => Message::of_mail(file),
            _ => Message::of_document(file),
        };
        if let Some(link) = link {
            let place = request.slots.get(SURVEY).expect("a place for the link");
            assert!(found.text.contains(link.as_str()) && !found.text.contains(place), "{file}");
            found.text = found.text.replace(link.as_str(), place);
        }
        assert_eq!(found.hash(), touch.render_hash, "{file}");
    }
}

/// A message as a recipient reads it.
pub(super) struct Message {
    subject: String,
    pub(super) text: String,
    html: String,
}

impl Message {
    /// Renders a variant: claims verbatim, other slots as they were given.
    fn of(
        variant: &Variant,
        slots: &[Slot],
        claims: &BTreeMap<String, String>,
        given: &BTreeMap<String, String>,
    ) -> Self {
        let print = |template: &str| {
            slots.iter().fold(template.to_owned(), |text, slot| {
                let value = match slot.kind() {
                    SlotKind::Claim => claims.get(&slot.of).cloned().unwrap_or_default(),
                    SlotKind::Text | SlotKind::Link => {
                        given.get(&slot.name).unwrap_or(&slot.fallback).clone()
                    }
                    kind => panic!("no story has a {kind:?} slot: render it here too"),
                };
                text.replace(&format!("{{{{{}}}}}", slot.name), &value)
            })
        };
        assert!(variant.html.is_empty(), "no story sends HTML: render it here too");
        Self { subject: print(&variant.subject), text: print(&variant.text), html: String::new() }
    }

    /// Reads an `.eml` file.
    pub(super) fn of_mail(file: &str) -> Self {
        let file = file.replace("\r\n", "\n");
        let (head, body) = file.split_once("\n\n").expect("a head and a body");
        let header = |name: &str| {
            let found = head.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(": "));
            found.unwrap_or_default().to_owned()
        };
        // The file ends with a line end of its own.
        let body = body.strip_suffix('\n').unwrap_or(body);
        let text = match header("Content-Transfer-Encoding").as_str() {
            "7bit" => body.to_owned(),
            "quoted-printable" => unquoted(body),
            other => panic!("no story sends {other}: decode it here"),
        };
        Self { subject: header("Subject"), text, html: String::new() }
    }

    /// Reads a `.json` file.
    fn of_document(file: &str) -> Self {
        let document: serde_json::Value = serde_json::from_str(file).expect("JSON");
        let text = |name: &str| document[name].as_str().expect("a text").to_owned();
        Self { subject: text("subject"), text: text("text"), html: text("html") }
    }

    /// SHA-256 over subject, text and HTML, each after its length in bytes (u32, big endian).
    fn hash(&self) -> String {
        let mut bytes = Vec::new();
        for text in [&self.subject, &self.text, &self.html] {
            bytes.extend(u32::try_from(text.len()).expect("a short text").to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        hex(&digest(&bytes))
    }
}

/// Reads quoted-printable (RFC 2045, 6.7), as long lines are written.
fn unquoted(body: &str) -> String {
    let joined = body.replace("=\n", "");
    let mut parts = joined.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).expect("two digits");
        bytes.push(u8::from_str_radix(code, 16).expect("hexadecimal digits"));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("a text")
}

/// Whether it was handed over, or may have been.
fn left(touch: &Touch) -> bool {
    touch.send_time.is_some() || matches!(touch.state(), State::Sending | State::Unknown)
}

fn id(touch: &Touch) -> String {
    touch.request.clone().unwrap_or_default().touch_id
}

/// The file that a touch leaves.
fn file_of(touch: &Touch) -> String {
    let channel = touch
        .request
        .as_ref()
        .map(rapport_proto::delivery::v1::TouchRequested::channel)
        .unwrap_or_default();
    let ending = if channel == Channel::Email { "eml" } else { "json" };
    format!("{}.{ending}", id(touch))
}

fn instant(time: Option<&prost_types::Timestamp>) -> Timestamp {
    time.and_then(Timestamp::from_proto).expect("an instant")
}
