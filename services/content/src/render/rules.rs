//! What may stand together: the assembly rules of every module that is printed, checked on what was printed.

use rapport_proto::content::v1::MustAccompany;
use rapport_proto::content::v1::assembly_rule::Rule;

use super::body::Printed;
use super::select::{Part, Selection};
use super::{FAIR_BALANCE, Unprintable};

/// Checks the rules of all modules of a selection. What must be present must be so in every body: a recipient sees the
/// text or the HTML, not both.
pub(super) fn check(selection: &Selection, bodies: &[Printed]) -> Result<(), Unprintable> {
    for (id, piece) in &selection.modules {
        for rule in piece.content.rules.iter().filter_map(|it| it.rule.as_ref()) {
            follows(id, rule, bodies)?;
        }
    }
    Ok(())
}

fn follows(module: &str, rule: &Rule, bodies: &[Printed]) -> Result<(), Unprintable> {
    let is_in = |body: &Printed, id: &str| body.place(|part| part.id == id).is_some();
    let in_all = |id: &str| bodies.iter().all(|it| is_in(it, id));
    let in_any = |id: &str| bodies.iter().any(|it| is_in(it, id));
    let broken = |what: String| Err(Unprintable::error(format!("module/{module}: {what}")));
    match rule {
        Rule::Requires(id) if !in_all(id) => broken(format!("requires {id}")),
        Rule::Excludes(id) if in_any(id) => broken(format!("excludes {id}")),
        Rule::Order(order) if !bodies.iter().all(|it| in_order(it, &order.ids)) => {
            broken(format!("order {}", order.ids.join(", ")))
        }
        // Of the text: HTML has tags, which nobody reads.
        Rule::MaxLength(most) if !bodies.iter().take(1).all(|it| is_within(it, module, *most)) => {
            broken(format!("longer than {most} characters"))
        }
        Rule::MustAccompany(safety) if !bodies.iter().all(|it| accompanies(it, safety)) => {
            let detail = format!("module/{module}: {} must accompany it", part_of(safety));
            Err(Unprintable { reason: FAIR_BALANCE, detail })
        }
        Rule::Requires(_)
        | Rule::Excludes(_)
        | Rule::Order(_)
        | Rule::MaxLength(_)
        | Rule::MustAccompany(_) => Ok(()),
    }
}

fn accompanies(body: &Printed, safety: &MustAccompany) -> bool {
    let wanted = part_of(safety);
    body.place(|part| *part == wanted).is_some()
}

fn part_of(safety: &MustAccompany) -> Part {
    match safety.claim_id.as_str() {
        "" => Part::module(&safety.module_id),
        claim_id => Part::claim(claim_id),
    }
}

/// Those that appear do so in this order; those that are absent do not count.
fn in_order(body: &Printed, ids: &[String]) -> bool {
    let places: Vec<_> = ids.iter().filter_map(|id| body.place(|part| part.id == *id)).collect();
    places.is_sorted()
}

/// How much a module printed itself, with what stands in its slots.
fn is_within(body: &Printed, module: &str, most: u32) -> bool {
    let this = Part::module(module);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    body.0.iter().filter(|(part, _)| *part == this).all(|(_, length)| *length <= most)
}
