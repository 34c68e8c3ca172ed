//! A patient where promotion to patients is forbidden, and a country that has no rules: nothing leaves, and the touch
//! says by which rule, or that there is none.

use rapport_proto::delivery::v1::GateStep;
use rapport_proto::types::PartyKind;

use crate::in_both_topologies;
use crate::stage::{Stage, assert_stopped, verdict};

in_both_topologies!(a_patient_and_an_unmapped_country);

async fn a_patient_and_an_unmapped_country(stage: &mut Stage) {
    let patient = stage.party("muster", PartyKind::Patient, "DE", "").await;
    stage.grant(&patient, "DE").await;
    let french = stage.physician("dupont", "FR").await;
    stage.settle().await;
    let (denied, unmapped) = (
        stage.ask_for_touch(&patient, "letter").await,
        stage.ask_for_touch(&french, "letter").await,
    );
    stage.settle().await;

    let denied = stage.touch(&denied).await;
    assert_stopped(&denied, GateStep::CountryRule, "country_rule");
    let rule = verdict(&denied, GateStep::CountryRule);
    assert_eq!(
        (rule.rule.as_str(), rule.pack.as_str(), rule.pack_version),
        ("de-rx-public", "DE", 1)
    );

    let unmapped = stage.touch(&unmapped).await;
    assert_stopped(&unmapped, GateStep::CountryRule, "country_rule");
    assert_eq!(verdict(&unmapped, GateStep::CountryRule).detail, "no_pack");
    assert_eq!(stage.outbox(), Vec::<String>::new());
}
