//! What is learned from the events of other services: required roles and where-used.

use eventstore::{AsOf, Decider, Metadata, Outcome};
use rapport_proto::decisioning::v1::{
    Action, Inherited, Policy, PolicyVersionActivated, PolicyVersionRetired, ReviewLine, RulePack,
    RulePackActivated, RulePackRetired, Treatment, policy_event, rule_pack_event,
};
use rapport_proto::journeys::v1::{
    Journey, JourneyVersionActivated, JourneyVersionRetired, Node, Touch, journey_event, node,
};

use super::*;

/// The facts of another service, written as they are.
macro_rules! stream_of {
    ($name:ident, $aggregate:literal, $event:ty) => {
        enum $name {}

        impl Decider for $name {
            const AGGREGATE: &'static str = $aggregate;
            type Command = ();
            type State = ();
            type Event = $event;
            type Refusal = std::fmt::Error;

            fn decide((): &(), (): (), _at: Timestamp) -> Result<Vec<$event>, std::fmt::Error> {
                Ok(Vec::new())
            }

            fn evolve((): (), _event: &$event) {}
        }
    };
}
stream_of!(RulePacks, "rule_pack", rule_pack_event::Event);
stream_of!(Policies, "policy", policy_event::Event);
stream_of!(Journeys, "journey", journey_event::Event);

/// Commits a fact of another service and waits until `content` has read it.
async fn happens<D: Decider<State = ()>>(world: &World, target: &str, id: &str, event: D::Event) {
    let store = &world.harness.deps(target).store;
    let loaded = store.load::<D>(ACME, id, AsOf::Now).await.expect("loaded");
    let meta = Metadata {
        tenant: ACME.into(),
        method: "test".into(),
        request_id: format!("{}/{id}/{}", D::AGGREGATE, loaded.version),
        at: world.harness.clock.now(),
        ..Default::default()
    };
    let mut unit = store.unit(meta);
    unit.push::<D>(id, loaded.version, &(), vec![event]).await.expect("encoded");
    let Outcome::Committed { position } = store.append(unit.finish().expect("whole")).await else {
        panic!("not committed");
    };
    let deps = world.harness.deps("content");
    let read = async {
        while deps.handled(crate::consumers::NAME, target).await.expect("read") < position {
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the consumer reads it");
}

fn review(class: ContentClass, roles: &[&str]) -> Option<RulePack> {
    let roles = roles.iter().map(|it| (*it).to_owned()).collect();
    let review = vec![ReviewLine { content_classes: vec![class.into()], roles }];
    Some(RulePack { review, ..Default::default() })
}

async fn pack(
    world: &World,
    market: &str,
    version: u32,
    document: Option<RulePack>,
    effective_at: Timestamp,
) {
    let strict = review(ContentClass::RxPromotional, &["MEDICAL", "LEGAL"]);
    let inherited = vec![Inherited { pack: "eu-strict".into(), version: 9, document: strict }];
    let activated = RulePackActivated {
        market: market.into(),
        version,
        document,
        inherited,
        effective_at: time(effective_at),
        ..Default::default()
    };
    happens::<RulePacks>(
        world,
        "decisioning",
        market,
        rule_pack_event::Event::Activated(activated),
    )
    .await;
}

async fn required(world: &World, id: &str) -> (Vec<ReviewRole>, Vec<(String, u32)>) {
    world.submit(id).await;
    let version = world.module(id).await.versions.pop().expect("one");
    let packs = version.packs.iter().map(|it| (it.pack.clone(), it.version)).collect();
    (version.roles().collect(), packs)
}

#[tokio::test]
async fn the_packs_in_force_name_the_roles() {
    let world = World::start().await;
    let (now, later) =
        (chassis::testing::START, chassis::testing::START.plus(Duration::from_secs(60)));
    pack(&world, "DE", 1, review(ContentClass::RxPromotional, &["REGULATORY"]), now).await;
    pack(&world, "AT", 4, Some(RulePack::default()), now).await;
    pack(&world, "DE", 2, review(ContentClass::RxPromotional, &["LEGAL"]), later).await;
    let save = async |id: &str, markets: &[&str]| {
        let markets = markets.iter().map(|it| (*it).to_owned()).collect();
        world.save(id, proto::ModuleContent { markets, ..module_content("Hallo.") }).await;
    };
    save("german", &["DE"]).await;
    assert_eq!(
        required(&world, "german").await,
        (vec![ReviewRole::Regulatory], vec![("DE".into(), 1)])
    );
    // The strictest of both: what either asks for; Austria says nothing itself.
    save("both", &["DE", "AT"]).await;
    let (roles, packs) = required(&world, "both").await;
    assert_eq!(roles, REVIEWERS.map(|it| it.0));
    assert_eq!(packs, [("DE".into(), 1), ("eu-strict".into(), 9)]);
    world.harness.clock.set(later);
    save("later", &["DE"]).await;
    assert_eq!(required(&world, "later").await, (vec![ReviewRole::Legal], vec![("DE".into(), 2)]));
    // A retired pack leaves the market without one: everybody must look.
    let retired = RulePackRetired { version: 2, reason: "void".into(), ..Default::default() };
    happens::<RulePacks>(&world, "decisioning", "DE", rule_pack_event::Event::Retired(retired))
        .await;
    save("retired", &["DE"]).await;
    assert_eq!(
        required(&world, "retired").await,
        (REVIEWERS.map(|it| it.0).to_vec(), vec![("DE".into(), 0)])
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn one_role_is_enough_where_the_pack_says_so() {
    let world = World::start().await;
    let line = review(ContentClass::RxPromotional, &["MEDICAL"]);
    pack(&world, "DE", 1, line, chassis::testing::START).await;
    let draft = world.save("hello", module_content("Hallo.")).await;
    world.submit("hello").await;
    let legal = module_review("hello", 1, &draft.content_hash, ReviewRole::Legal);
    let refused = world.modules_as("leo").review_module(legal).await.expect_err("not asked for");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "ROLE_MISSING".into()));
    let medical = module_review("hello", 1, &draft.content_hash, ReviewRole::Medical);
    world.modules_as("mia").review_module(medical).await.expect("reviewed");
    assert!(world.check("hello").await.usable);
    world.harness.stop().await;
}

/// Kind, id, version, place and state of a use.
type Used = (String, String, u32, String, State);

async fn uses(world: &World, parent: String, page_size: i32) -> Vec<Used> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            proto::ListModuleUsesRequest { parent: parent.clone(), page_size, page_token };
        let page = world.modules().list_module_uses(request).await.expect("listed").into_inner();
        let used = |it: proto::ModuleUse| {
            let state = it.state();
            (it.kind, it.id, it.version, it.place, state)
        };
        found.extend(page.uses.into_iter().map(used));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

fn policy(version: u32, module: &str) -> policy_event::Event {
    let treatment =
        Treatment { treatment: "mail".into(), module: module.into(), ..Default::default() };
    let action =
        Action { action: "remind".into(), treatments: vec![treatment], ..Default::default() };
    let policy = Some(Policy { actions: vec![action], ..Default::default() });
    policy_event::Event::Activated(PolicyVersionActivated { version, policy, ..Default::default() })
}

#[tokio::test]
async fn where_something_is_used_is_known_across_services() {
    let world = World::start().await;
    world.reference("study", None).await;
    world.save_claim("onset", claim_content(&["study"])).await;
    world.save("footer", with_slots("{{c}}", &[("c", SlotKind::Claim, "onset")])).await;
    let mut root = with_slots("{{f}}", &[("f", SlotKind::Module, "footer")]);
    let accompany = proto::MustAccompany { claim_id: "onset".into(), ..Default::default() };
    let rule = proto::assembly_rule::Rule::MustAccompany(accompany);
    root.rules = vec![proto::AssemblyRule { rule: Some(rule) }];
    world.save("root", root).await;
    happens::<Policies>(&world, "decisioning", "default", policy(1, "footer")).await;
    let touch = Touch { module: "footer".into(), ..Default::default() };
    let node = Node { step: Some(node::Step::Touch(touch)) };
    let journey =
        Some(Journey { nodes: [("write".to_owned(), node)].into(), ..Default::default() });
    let activated = JourneyVersionActivated { version: 5, journey, ..Default::default() };
    happens::<Journeys>(&world, "journeys", "win-back", journey_event::Event::Activated(activated))
        .await;

    let row = |kind: &str, id: &str, version: u32, place: &str, state: State| {
        (kind.to_owned(), id.to_owned(), version, place.to_owned(), state)
    };
    let by_policy =
        |version| row("policy", "default", version, "actions.remind.mail", State::Unspecified);
    let in_root = |state| row("module", "root", 1, "slots.f", state);
    let everywhere = vec![
        row("journey", "win-back", 5, "nodes.write", State::Unspecified),
        in_root(State::Draft),
        by_policy(1),
    ];
    assert_eq!(uses(&world, module_name("footer"), 0).await, everywhere);
    assert_eq!(uses(&world, module_name("footer"), 1).await, everywhere);
    let in_claim = |state| {
        vec![
            row("module", "footer", 1, "slots.c", state),
            row("module", "root", 1, "rules[0].must_accompany", State::Draft),
        ]
    };
    assert_eq!(uses(&world, claim_name("onset"), 0).await, in_claim(State::Draft));
    let study = format!("tenants/{ACME}/references/study");
    let cited = [row("claim", "onset", 1, "reference_ids", State::Draft)];
    assert_eq!(uses(&world, study, 0).await, cited);

    // Another policy takes the place of the first; what is retired uses nothing.
    happens::<Policies>(&world, "decisioning", "default", policy(2, "root")).await;
    let retired =
        journey_event::Event::Retired(JourneyVersionRetired { version: 5, ..Default::default() });
    happens::<Journeys>(&world, "journeys", "win-back", retired).await;
    assert_eq!(uses(&world, module_name("footer"), 0).await, [in_root(State::Draft)]);
    assert_eq!(uses(&world, module_name("root"), 0).await, [by_policy(2)]);
    let retired =
        policy_event::Event::Retired(PolicyVersionRetired { version: 2, ..Default::default() });
    happens::<Policies>(&world, "decisioning", "default", retired).await;
    assert_eq!(uses(&world, module_name("root"), 0).await, vec![]);
    world.harness.stop().await;
}

#[tokio::test]
async fn where_something_stood_is_still_known_when_it_is_withdrawn() {
    let world = World::start().await;
    world.reference("study", None).await;
    world.approved_claim("onset", claim_content(&["study"])).await;
    world.approved("footer", with_slots("{{c}}", &[("c", SlotKind::Claim, "onset")])).await;
    world.approved("footer", with_slots("{{c}}!", &[("c", SlotKind::Claim, "onset")])).await;
    happens::<Policies>(&world, "decisioning", "default", policy(1, "footer")).await;
    let row = |kind: &str, version: u32, place: &str, state: State| {
        let id = if kind == "policy" { "default" } else { "footer" };
        (kind.to_owned(), id.to_owned(), version, place.to_owned(), state)
    };
    let of_claim = |newest: State| {
        [row("module", 1, "slots.c", State::Superseded), row("module", 2, "slots.c", newest)]
    };
    assert_eq!(uses(&world, claim_name("onset"), 0).await, of_claim(State::Approved));
    let withdraw = proto::WithdrawClaimRequest {
        name: claim_name("onset"),
        reason: "unsafe".into(),
        ..Default::default()
    };
    world.library().withdraw_claim(withdraw).await.expect("withdrawn");
    world.module_becomes("footer", 2, State::Withdrawn).await;
    assert_eq!(uses(&world, claim_name("onset"), 0).await, of_claim(State::Withdrawn));
    // Who plans with it is still found, to plan anew.
    let planned = [row("policy", 1, "actions.remind.mail", State::Unspecified)];
    assert_eq!(uses(&world, module_name("footer"), 0).await, planned);
    world.harness.stop().await;
}
