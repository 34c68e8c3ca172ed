//! The table of targets. Adding a service is one row here and one dependency line.

use anyhow::bail;
use chassis::Target;

/// A row: every service crate has the same three things.
macro_rules! row {
    ($name:ident) => {
        Target {
            name: stringify!($name),
            schema: $name::schema,
            reasons: $name::REASONS,
            service: $name::service,
        }
    };
}

/// Every target of this binary; `all` is the whole table.
pub const TARGETS: &[Target] = &[
    row!(profiles),
    row!(content),
    row!(decisioning),
    row!(journeys),
    row!(delivery),
    row!(feedback),
    row!(kpis),
    row!(audit),
    row!(gateway),
];

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
