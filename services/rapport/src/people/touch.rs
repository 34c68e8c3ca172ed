//! `rapport touch`: what the send gate found, and what proves it.

use rapport_proto::delivery::v1::{GetTouchRequest, Touch, Verdict};

use super::Output;
use super::show::{json, short, time};
use crate::cli::print;
use crate::remote::{Remote, told};
use crate::table::{Table, fields, wrap};

/// One touch with every verdict.
pub(super) async fn show(remote: &Remote, id: &str, output: Output) -> anyhow::Result<()> {
    let request = GetTouchRequest { name: remote.name("touches", id), ..Default::default() };
    let touch = told(remote.delivery.clone().get_touch(request).await)?;
    if output == Output::Json {
        return json(&touch);
    }
    print(&text(&touch.touch.unwrap_or_default()));
    Ok(())
}

/// A touch, its verdicts and what its message was made of.
pub(crate) fn text(touch: &Touch) -> String {
    let request = touch.request.clone().unwrap_or_default();
    let state = short(touch.state().as_str_name(), "STATE_");
    let channel = short(request.channel().as_str_name(), "CHANNEL_");
    let mut text = fields(&[
        ("touch", request.touch_id.clone()),
        ("party", request.party_id.clone()),
        ("module", format!("{} by {channel} from {}", request.module, request.sender_id)),
        ("state", format!("{state} {}", touch.reason)),
        ("asked for", time(touch.create_time.as_ref())),
        ("sent", time(touch.send_time.as_ref())),
    ]);
    text.push_str(&format!("\n{}", verdicts(&touch.verdicts)));
    text.push_str("\nmade of\n");
    for it in &touch.content {
        text.push_str(&format!("  {}/{} version {}\n", it.kind, it.id, it.version));
        text.push_str(&format!("    signed content hash {}\n", it.content_hash));
        text.push_str(&wrap(&format!("signed by {}", it.signature_ids.join(" ")), "    "));
    }
    text
}

/// All steps in order.
fn verdicts(verdicts: &[Verdict]) -> String {
    let mut table = Table::new(&["STEP", "VERDICT", "WHY", "RULE", "PROOF"]);
    for it in verdicts {
        let why = [it.reason.as_str(), it.detail.as_str()].join(" ");
        let pack = match it.pack_version {
            0 => it.rule.clone(),
            version => format!("{} {} v{version}", it.rule, it.pack),
        };
        table.row([
            short(it.step().as_str_name(), "GATE_STEP_"),
            short(it.outcome().as_str_name(), "VERDICT_OUTCOME_"),
            why.trim().to_owned(),
            pack.trim().to_owned(),
            it.proof_ids.join(" "),
        ]);
    }
    table.print("the gate has not spoken yet")
}
