//! Where in the text a finding's place stands. The definition was read before, so this looks for keys only; a place
//! that it does not find keeps line 0.

use rapport_proto::types::Finding;

/// The finding with the line of its place: of the node, or of the field of the whole document.
pub(super) fn located(text: &str, mut finding: Finding) -> Finding {
    let mut keys = finding.place.split(['.', '[']);
    let found = match (keys.next(), keys.next()) {
        (Some("nodes"), Some(node)) => {
            let from = line_of(text, "nodes", 0).unwrap_or(0);
            // A node may stand on the line of `nodes:` itself.
            line_of(text, node, from)
                .or(Some(from))
                .filter(|it| *it > 0 || text.lines().count() == 1)
        }
        (Some(field), _) => line_of(text, field, 0),
        (None, _) => None,
    };
    finding.line = found.and_then(|it| u32::try_from(it + 1).ok()).unwrap_or(0);
    finding
}

/// Index of the first line from `from` on that begins with a key, or holds it after `{`, `,` or as JSON.
fn line_of(text: &str, key: &str, from: usize) -> Option<usize> {
    let begins = |line: &str| {
        let line = line.trim_start();
        [format!("{key}:"), format!("\"{key}\":"), format!("'{key}':")]
            .iter()
            .any(|it| line.starts_with(it))
    };
    let holds = |line: &str| {
        [format!("{{{key}:"), format!(", {key}:"), format!(",{key}:"), format!("\"{key}\":")]
            .iter()
            .any(|it| line.contains(it))
    };
    let lines = || text.lines().enumerate().skip(from);
    lines()
        .find(|(_, it)| begins(it))
        .or_else(|| lines().find(|(_, it)| holds(it)))
        .map(|(index, _)| index)
}
