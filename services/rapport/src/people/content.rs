//! `rapport content`: review, approve, withdraw.

use rapport_proto::content::v1::{
    GetModuleRequest, Module, ModuleContent, ModuleVersion, ReviewModuleRequest, ReviewRole,
    StageTime, Variant, Verdict, WithdrawModuleRequest,
};

use super::show::{json, list, short, time, value};
use super::{Content, Output, Role};
use crate::cli::print;
use crate::remote::{Remote, told};
use crate::table::{Table, fields, wrap};

/// Runs a command about content.
pub(super) async fn run(remote: &Remote, ask: Content, output: Output) -> anyhow::Result<()> {
    match ask {
        Content::Review { id, version, reject: None, .. } => {
            show(remote, &id, version, output).await
        }
        Content::Review { id, version, reject: Some(role), comment, name } => {
            let module = get(remote, &id, version).await?;
            let read = newest(&module)?.clone();
            let verdict = ReviewModuleRequest {
                verdict: Verdict::Reject.into(),
                comment: comment.unwrap_or_default(),
                printed_name: name.unwrap_or_default(),
                meaning: "I have reviewed this content and ask for changes.".into(),
                content_hash: read.content_hash,
                ..verdict_of(&module, read.version, role)
            };
            sign(remote, verdict, output).await
        }
        Content::Approve { id, version, role, name, meaning, comment, hash } => {
            let module = get(remote, &id, version).await?;
            let version = newest(&module)?.version;
            let verdict = ReviewModuleRequest {
                verdict: Verdict::Approve.into(),
                comment,
                printed_name: name,
                meaning,
                content_hash: hash,
                ..verdict_of(&module, version, role)
            };
            sign(remote, verdict, output).await
        }
        Content::Withdraw { id, version, reason } => {
            let request = WithdrawModuleRequest {
                name: remote.name("modules", &id),
                version: version.unwrap_or_default(),
                reason,
                ..Default::default()
            };
            let reply = told(remote.modules.clone().withdraw_module(request).await)?;
            match output {
                Output::Json => json(&reply),
                Output::Table => {
                    print(&versions(&reply.module.unwrap_or_default()));
                    Ok(())
                }
            }
        }
    }
}

fn verdict_of(module: &Module, version: u32, role: Role) -> ReviewModuleRequest {
    let role = match role {
        Role::Medical => ReviewRole::Medical,
        Role::Legal => ReviewRole::Legal,
        Role::Regulatory => ReviewRole::Regulatory,
    };
    ReviewModuleRequest {
        name: module.name.clone(),
        version,
        role: role.into(),
        ..ReviewModuleRequest::default()
    }
}

/// The module with one of its versions, or with all of them.
async fn get(remote: &Remote, id: &str, version: Option<u32>) -> anyhow::Result<Module> {
    let request = GetModuleRequest {
        name: remote.name("modules", id),
        version: version.unwrap_or_default(),
        ..Default::default()
    };
    let reply = told(remote.modules.clone().get_module(request).await)?;
    reply.module.ok_or_else(|| anyhow::anyhow!("the answer holds no module"))
}

fn newest(module: &Module) -> anyhow::Result<&ModuleVersion> {
    module.versions.last().ok_or_else(|| anyhow::anyhow!("{} has no version", module.module_id))
}

async fn sign(remote: &Remote, request: ReviewModuleRequest, output: Output) -> anyhow::Result<()> {
    let reply = told(remote.modules.clone().review_module(request).await)?;
    if output == Output::Json {
        return json(&reply);
    }
    print(&format!("signed as {}\n\n", reply.signature_id));
    print(&versions(&reply.module.unwrap_or_default()));
    Ok(())
}

/// What a reviewer has to read: every variant, what fills its slots, the hash to sign, and what others said.
async fn show(
    remote: &Remote,
    id: &str,
    version: Option<u32>,
    output: Output,
) -> anyhow::Result<()> {
    let module = get(remote, id, version).await?;
    if output == Output::Json {
        return json(&module);
    }
    let read = newest(&module)?;
    let content = read.content.clone().unwrap_or_default();
    print(&head(&module, read, &content));
    for it in &content.variants {
        print(&variant(it));
    }
    if !content.slots.is_empty() {
        print(&format!("\nSLOTS\n{}", slots(&content)));
    }
    if !content.rules.is_empty() {
        print("\nRULES\n");
        for it in &content.rules {
            print(&wrap(&value(it)?.to_string(), ""));
        }
    }
    let times: Vec<_> = read.stage_times.iter().map(stage_time).collect();
    print(&format!("\nREVIEW\n{}", verdicts(read)));
    print(&wrap(&format!("time per stage: {}", list(&times)), ""));
    print(&format!("\nVERSIONS\n{}", versions(&module)));
    Ok(())
}

fn head(module: &Module, read: &ModuleVersion, content: &ModuleContent) -> String {
    let audiences: Vec<_> =
        content.audiences().map(|it| short(it.as_str_name(), "AUDIENCE_")).collect();
    let languages: Vec<_> = (content.default_languages.iter())
        .map(|(market, language)| format!("{language} in {market}"))
        .collect();
    fields(&[
        ("module", format!("{} version {}", module.module_id, read.version)),
        ("title", content.title.clone()),
        ("class", short(content.content_class().as_str_name(), "CONTENT_CLASS_")),
        ("product", content.product_id.clone()),
        ("topic", content.topic.clone()),
        ("tags", list(&content.tags)),
        ("markets", list(&content.markets)),
        ("audiences", list(&audiences)),
        ("languages", list(&languages)),
        ("assets", list(&content.asset_ids)),
        ("from", time(content.usable_from.as_ref())),
        ("until", time(content.expires_at.as_ref())),
        ("hash", read.content_hash.clone()),
    ])
}

fn variant(it: &Variant) -> String {
    let channel = short(it.channel().as_str_name(), "CHANNEL_");
    let mut text = format!("\n{}", wrap(&format!("{channel} {} {}", it.language, it.tone), ""));
    let templates = [("subject", &it.subject), ("text", &it.text), ("html", &it.html)];
    for (name, template) in templates.iter().filter(|it| !it.1.is_empty()) {
        text.push_str(&format!("  {name}\n"));
        text.extend(template.lines().map(|line| wrap(line, "    ")));
    }
    text
}

fn slots(content: &ModuleContent) -> String {
    let mut table = Table::new(&["SLOT", "KIND", "OF", "REQUIRED", "MOST", "FALLBACK"]);
    for it in &content.slots {
        table.row([
            it.name.clone(),
            short(it.kind().as_str_name(), "SLOT_KIND_"),
            it.of.clone(),
            if it.required { "yes".into() } else { String::new() },
            if it.max_length == 0 { String::new() } else { it.max_length.to_string() },
            it.fallback.clone(),
        ]);
    }
    table.print("no slot")
}

fn verdicts(read: &ModuleVersion) -> String {
    let mut table = Table::new(&["ROLE", "VERDICT", "BY", "AT", "COMMENT", "SIGNATURE!"]);
    for it in &read.reviews {
        let signature = it.signature.clone().unwrap_or_default();
        table.row([
            short(it.role().as_str_name(), "REVIEW_ROLE_"),
            short(it.verdict().as_str_name(), "VERDICT_"),
            signature.printed_name.clone(),
            time(signature.signed_at.as_ref()),
            it.comment.clone(),
            signature.signature_id.clone(),
        ]);
    }
    table.print("no verdict yet")
}

/// `in_review 2d 3h`, in the two largest units; `…` while it lasts.
fn stage_time(it: &StageTime) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let parts = UNITS.iter().enumerate().map(|(n, (unit, name))| {
        let larger = n.checked_sub(1).map_or(u64::MAX, |n| UNITS[n].0);
        (it.seconds % larger / unit, name)
    });
    let parts: Vec<_> = parts.skip_while(|part| part.0 == 0).take(2).collect();
    let text: Vec<_> =
        parts.iter().filter(|part| part.0 > 0).map(|(n, name)| format!("{n}{name}")).collect();
    let text = if text.is_empty() { "0s".into() } else { text.join(" ") };
    format!("{} {text}{}", it.stage, if it.open { "…" } else { "" })
}

fn versions(module: &Module) -> String {
    let mut table = Table::new(&["V", "STATE", "AUTHOR", "ROLES", "UNTIL", "REASON", "HASH"]);
    for it in &module.versions {
        let roles: Vec<_> = it.roles().map(|it| short(it.as_str_name(), "REVIEW_ROLE_")).collect();
        table.row([
            it.version.to_string(),
            short(it.state().as_str_name(), "STATE_"),
            it.author.clone(),
            list(&roles),
            time(it.expire_time.as_ref()),
            it.reason.clone(),
            it.content_hash.chars().take(16).collect(),
        ]);
    }
    table.print("no version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_time_is_told_in_its_two_largest_units() {
        let told = |seconds: u64, open: bool| {
            stage_time(&StageTime { stage: "in_review".into(), seconds, open })
        };
        assert_eq!(told(0, false), "in_review 0s");
        assert_eq!(told(59, true), "in_review 59s…");
        assert_eq!(told(3_600, false), "in_review 1h");
        assert_eq!(told(2 * 86_400 + 3 * 3_600 + 4, false), "in_review 2d 3h");
        assert_eq!(told(86_400 + 5, false), "in_review 1d");
    }
}
