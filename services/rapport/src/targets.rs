//! The table of targets. Adding a service is one row here and one dependency line.

use anyhow::bail;
use chassis::Target;

/// Every target of this binary; `all` is the whole table.
pub const TARGETS: &[Target] = &[Target {
    name: "profiles",
    schema: profiles::schema,
    reasons: profiles::REASONS,
    service: profiles::service,
}];

/// The rows that names ask for.
pub fn select(names: &[String]) -> anyhow::Result<Vec<Target>> {
    if names.iter().any(|it| it == "all") {
        return Ok(TARGETS.to_vec());
    }
    for name in names {
        if !TARGETS.iter().any(|it| it.name == name) {
            let known: Vec<_> = TARGETS.iter().map(|it| it.name).collect();
            bail!("there is no target {name:?}; choose from all, {}", known.join(", "));
        }
    }
    Ok(TARGETS.iter().filter(|it| names.iter().any(|name| name == it.name)).copied().collect())
}
