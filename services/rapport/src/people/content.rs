//! `rapport content`: review, approve, withdraw.

use rapport_proto::content::v1::{
    GetModuleRequest, Module, ModuleVersion, ReviewModuleRequest, ReviewRole, Verdict,
    WithdrawModuleRequest,
};

use super::show::{json, list, short, time};
use super::{Content, Output, Role};
use crate::cli::print;
use crate::remote::{Remote, told};
use crate::table::{Table, wrap};

/// Runs a command about content.
pub(super) async fn run(remote: &Remote, ask: Content, output: Output) -> anyhow::Result<()> {
    match ask {
        Content::Review { id, version, reject: None, .. } => {
            show(remote, &id, version, output).await
        }
        Content::Review { id, version, reject: Some(role), comment, name } => {
            let module = get(remote, &id).await?;
            let read = pick(&module, version)?.clone();
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
            let module = get(remote, &id).await?;
            let version = pick(&module, version)?.version;
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

async fn get(remote: &Remote, id: &str) -> anyhow::Result<Module> {
    let request = GetModuleRequest { name: remote.name("modules", id), ..Default::default() };
    let reply = told(remote.modules.clone().get_module(request).await)?;
    reply.module.ok_or_else(|| anyhow::anyhow!("the answer holds no module"))
}

fn pick(module: &Module, version: Option<u32>) -> anyhow::Result<&ModuleVersion> {
    let found = match version {
        Some(number) => module.versions.iter().find(|it| it.version == number),
        None => module.versions.last(),
    };
    found.ok_or_else(|| anyhow::anyhow!("{} has no such version", module.module_id))
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

/// What a reviewer has to read: every variant, the hash to sign, and what others said.
async fn show(
    remote: &Remote,
    id: &str,
    version: Option<u32>,
    output: Output,
) -> anyhow::Result<()> {
    let module = get(remote, id).await?;
    if output == Output::Json {
        return json(&module);
    }
    let read = pick(&module, version)?;
    let content = read.content.clone().unwrap_or_default();
    let audiences: Vec<_> =
        content.audiences().map(|it| short(it.as_str_name(), "AUDIENCE_")).collect();
    print(&format!(
        "module    {} version {}\ntitle     {}\nclass     {}\nmarkets   {}\naudiences {}\nuntil     {}\nhash      {}\n",
        module.module_id,
        read.version,
        content.title,
        short(content.content_class().as_str_name(), "CONTENT_CLASS_"),
        list(&content.markets),
        list(&audiences),
        time(content.expires_at.as_ref()),
        read.content_hash,
    ));
    for it in &content.variants {
        let channel = short(it.channel().as_str_name(), "CHANNEL_");
        print(&format!("\n{channel} {} {}\n", it.language, it.tone));
        print(&wrap(&it.subject, "  "));
        for line in it.text.lines() {
            print(&wrap(line, "  "));
        }
    }
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
    print(&format!("\n{}\n{}", table.print("no verdict yet"), versions(&module)));
    Ok(())
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
