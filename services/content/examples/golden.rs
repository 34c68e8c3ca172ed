//! Writes the samples of the golden corpus that are missing; it never overwrites one, because a sample is what was
//! released. Run it after adding an event: `cargo run -p content --example golden`.
//!
//! What a sample is, `eventstore::testing::golden` says.

use eventstore::testing::golden::{Sample, write_missing};
use prost::Message as _;
use prost_types::Timestamp;
use rapport_proto::content::v1::{
    Asset, AssetExpired, AssetStored, ClaimApproved, ClaimChangesRequested, ClaimContent,
    ClaimDraftSaved, ClaimExpired, ClaimSubmitted, ClaimSuperseded, ClaimVerdictRecorded,
    ClaimWithdrawn, ModuleApproved, ModuleChangesRequested, ModuleContent, ModuleDraftSaved,
    ModuleExpired, ModuleSubmitted, ModuleSuperseded, ModuleVerdictRecorded, ModuleWithdrawn,
    PackUsed, Product, ProductRegistered, Reference, ReferenceAdded, ReferenceExpired, ReviewRole,
    Signature, Slot, SlotKind, Variant, Verdict, asset_event, claim_event, module_event,
    product_event, reference_event,
};
use rapport_proto::types::{Audience, Channel, ContentClass};

fn main() -> std::io::Result<()> {
    let samples = [library(), claims(), modules()];
    write_missing(env!("CARGO_MANIFEST_DIR"), samples.into_iter().flatten())
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 250_000_000 })
}

fn hash(byte: u8) -> String {
    eventstore::hex(&[byte; 32])
}

fn signature() -> Signature {
    Signature {
        signature_id: "sig_4r2c9m0t6qhx8vw3n5y7zp1kdg".into(),
        signer: "mia".into(),
        printed_name: "Dr. Mia Muster".into(),
        signed_at: time(60),
        offset_seconds: 3600,
        meaning: "I approve this content for medical accuracy".into(),
        content_hash: hash(1),
        authenticated_at: time(30),
    }
}

fn packs() -> Vec<PackUsed> {
    vec![PackUsed { pack: "DE".into(), version: 3 }, PackUsed { pack: "AT".into(), version: 0 }]
}

fn roles() -> Vec<i32> {
    vec![ReviewRole::Medical.into(), ReviewRole::Legal.into()]
}

fn library() -> Vec<Sample> {
    let product = Product {
        product_id: "aspera".into(),
        brand: "Aspera".into(),
        indications: vec!["migraine".into()],
        markets: vec!["DE".into(), "US".into()],
    };
    let reference = Reference {
        reference_id: "study-1".into(),
        citation: "Doe J. et al., 2024".into(),
        locator: "doi:10.1000/1".into(),
        expires_at: time(86_400),
    };
    let asset = Asset {
        asset_id: "logo".into(),
        sha256: hash(2),
        media_type: "image/png".into(),
        rights_until: time(86_400),
    };
    vec![
        Sample::of(
            1,
            &product_event::Event::Registered(ProductRegistered { product: Some(product) }),
        ),
        Sample::of(
            1,
            &reference_event::Event::Added(ReferenceAdded { reference: Some(reference) }),
        ),
        Sample::of(
            1,
            &reference_event::Event::Expired(ReferenceExpired {
                reason: "retracted".into(),
                expired_at: time(5),
            }),
        ),
        Sample::of(1, &asset_event::Event::Stored(AssetStored { asset: Some(asset) })),
        Sample::of(
            1,
            &asset_event::Event::Expired(AssetExpired {
                reason: "expired".into(),
                expired_at: time(6),
            }),
        ),
    ]
}

fn claims() -> Vec<Sample> {
    use claim_event::Event;
    let content = ClaimContent {
        text: "Works within one hour in adults.".into(),
        category: "efficacy".into(),
        product_id: "aspera".into(),
        markets: vec!["DE".into()],
        reference_ids: vec!["study-1".into()],
        language: "de".into(),
        expires_at: time(86_400),
    };
    let facts = [
        Event::DraftSaved(ClaimDraftSaved {
            version: 1,
            content: content.encode_to_vec(),
            content_hash: hash(1),
            author: "author".into(),
            saved_at: time(0),
        }),
        Event::Submitted(ClaimSubmitted {
            version: 1,
            roles: roles(),
            packs: packs(),
            submitted_at: time(1),
        }),
        Event::VerdictRecorded(ClaimVerdictRecorded {
            version: 1,
            role: ReviewRole::Medical.into(),
            verdict: Verdict::Approve.into(),
            comment: "fine".into(),
            signature: Some(signature()),
        }),
        Event::ChangesRequested(ClaimChangesRequested {
            version: 1,
            role: ReviewRole::Legal.into(),
        }),
        Event::Approved(ClaimApproved {
            version: 1,
            content_hash: hash(1),
            signature_ids: vec![signature().signature_id],
            content: Some(content),
        }),
        Event::Superseded(ClaimSuperseded { version: 1, by: 2 }),
        Event::Withdrawn(ClaimWithdrawn {
            version: 2,
            reason: "reference_expired".into(),
            cause: "reference/study-1".into(),
            withdrawn_at: time(9),
        }),
        Event::Expired(ClaimExpired { version: 3 }),
    ];
    facts.iter().map(|it| Sample::of(1, it)).collect()
}

fn modules() -> Vec<Sample> {
    use module_event::Event;
    let content = ModuleContent {
        title: "Hello".into(),
        content_class: ContentClass::RxPromotional.into(),
        markets: vec!["DE".into()],
        audiences: vec![Audience::Hcp.into()],
        default_languages: [("DE".to_owned(), "de".to_owned())].into(),
        slots: vec![Slot {
            name: "claim".into(),
            kind: SlotKind::Claim.into(),
            of: "onset-fast".into(),
            ..Default::default()
        }],
        variants: vec![Variant {
            channel: Channel::Email.into(),
            language: "de".into(),
            subject: "Hallo".into(),
            text: "{{claim}}".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let facts = [
        Event::DraftSaved(ModuleDraftSaved {
            version: 1,
            content: content.encode_to_vec(),
            content_hash: hash(1),
            author: "author".into(),
            saved_at: time(0),
        }),
        Event::Submitted(ModuleSubmitted {
            version: 1,
            markets: vec!["DE".into(), "AT".into()],
            roles: roles(),
            packs: packs(),
            submitted_at: time(1),
        }),
        Event::VerdictRecorded(ModuleVerdictRecorded {
            version: 1,
            role: ReviewRole::Regulatory.into(),
            verdict: Verdict::Reject.into(),
            comment: "balance is missing".into(),
            signature: Some(signature()),
        }),
        Event::ChangesRequested(ModuleChangesRequested {
            version: 1,
            role: ReviewRole::Regulatory.into(),
        }),
        Event::Approved(ModuleApproved {
            version: 2,
            content_hash: hash(1),
            signature_ids: vec![signature().signature_id],
            markets: vec!["DE".into()],
            audiences: vec![Audience::Hcp.into()],
            channels: vec![Channel::Email.into(), Channel::Sms.into()],
            languages: vec!["de".into(), "en".into()],
            content_class: ContentClass::RxPromotional.into(),
            product_id: "aspera".into(),
            topic: "onset".into(),
            usable_from: time(100),
            expires_at: time(200),
        }),
        Event::Superseded(ModuleSuperseded { version: 1, by: 2 }),
        Event::Withdrawn(ModuleWithdrawn {
            version: 0,
            reason: "claim_withdrawn".into(),
            cause: "claim/onset-fast".into(),
            withdrawn_at: time(9),
        }),
        Event::Expired(ModuleExpired { version: 2 }),
    ];
    facts.iter().map(|it| Sample::of(1, it)).collect()
}
