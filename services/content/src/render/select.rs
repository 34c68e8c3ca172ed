//! What would be printed, and whether all of it may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rapport_proto::content::v1::{ClaimContent, ModuleContent, Slot, SlotKind, Variant};

use super::choice::{self, Chosen};
use super::{Ask, DEEPEST, EXPIRED, Library, NOT_APPROVED, Unusable, WITHDRAWN, Wanted};
use crate::domain::template::{Segment, parse};

/// A module or a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PartKind {
    Module,
    Claim,
}

/// Something that a message is made of; printed as `claim/onset-fast`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    pub(crate) id: String,
}

impl Part {
    pub(crate) fn module(id: &str) -> Self {
        Self { kind: PartKind::Module, id: id.to_owned() }
    }

    pub(crate) fn claim(id: &str) -> Self {
        Self { kind: PartKind::Claim, id: id.to_owned() }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PartKind::Module => "module",
            PartKind::Claim => "claim",
        };
        write!(f, "{kind}/{}", self.id)
    }
}

/// A version that is used, by its approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Approval {
    pub(crate) version: u32,
    pub(crate) content_hash: String,
    pub(crate) signature_ids: Vec<String>,
}

/// A module that is printed.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) approval: Approval,
    pub(crate) content: ModuleContent,
    pub(crate) variant: Variant,
}

/// Everything that is printed, all of it approved now.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) root: String,
    pub(crate) modules: BTreeMap<String, Piece>,
    pub(crate) claims: BTreeMap<String, (Approval, ClaimContent)>,
}

impl Selection {
    /// How a part was approved.
    pub(crate) fn approval(&self, part: &Part) -> Option<&Approval> {
        match part.kind {
            PartKind::Module => self.modules.get(&part.id).map(|it| &it.approval),
            PartKind::Claim => self.claims.get(&part.id).map(|it| &it.0),
        }
    }
}

/// Selects what a message of a module is made of, or says what must be read first.
pub(crate) fn select(
    library: &Library,
    root: &str,
    ask: &Ask,
) -> Result<Result<Selection, Unusable>, Wanted> {
    let mut walk = Walk { library, ask, wanted: Wanted::default(), unusable: None };
    let selection = walk.all(root);
    if !walk.wanted.is_empty() {
        return Err(walk.wanted);
    }
    Ok(match (walk.unusable, selection) {
        (None, Some(selection)) => Ok(selection),
        (unusable, _) => Err(unusable.unwrap_or_else(|| Unusable::new(NOT_APPROVED, "unknown"))),
    })
}

/// Goes through the modules level by level, each once.
struct Walk<'a> {
    library: &'a Library,
    ask: &'a Ask,
    wanted: Wanted,
    /// The first fault, the root's before its parts'.
    unusable: Option<Unusable>,
}

impl Walk<'_> {
    fn all(&mut self, root: &str) -> Option<Selection> {
        let first = self.module(root, None)?;
        let language = first.variant.language.clone();
        let mut selection =
            Selection { root: root.to_owned(), modules: BTreeMap::new(), claims: BTreeMap::new() };
        let mut level = vec![(root.to_owned(), first)];
        let mut seen = BTreeSet::from([root.to_owned()]);
        for depth in 0.. {
            let mut next = Vec::new();
            for (id, piece) in level {
                for slot in printed(&piece) {
                    match slot.kind() {
                        SlotKind::Claim => self.claim(&slot.of, &mut selection),
                        SlotKind::Module if seen.insert(slot.of.clone()) => {
                            next.push(slot.of.clone())
                        }
                        _ => {}
                    }
                }
                selection.modules.insert(id, piece);
            }
            if next.is_empty() {
                break;
            }
            if depth >= DEEPEST {
                self.fault(
                    Unusable::new(NOT_APPROVED, "nested too deep").of_part(&Part::module(&next[0])),
                );
                break;
            }
            level = (next.into_iter())
                .filter_map(|id| Some((id.clone(), self.module(&id, Some(&language))?)))
                .collect();
        }
        Some(selection)
    }

    /// The version and variant of a module; `language` is the root's, for parts.
    fn module(&mut self, id: &str, language: Option<&str>) -> Option<Piece> {
        let Some(versions) = self.library.modules.get(id) else {
            self.wanted.modules.push(id.to_owned());
            return None;
        };
        let fault = |it: Unusable| match language {
            Some(_) => it.of_part(&Part::module(id)),
            None => it,
        };
        let chosen = match choice::module(versions, self.ask) {
            Ok(chosen) => chosen,
            Err(unusable) => {
                self.fault(fault(unusable));
                return None;
            }
        };
        self.assets(&chosen.content, &fault);
        let variant = match language {
            Some(language) => choice::variant_in(&chosen.content, self.ask, language),
            None => choice::variant_of_root(&chosen.content, self.ask),
        };
        let Some(variant) = variant.cloned() else {
            self.fault(fault(Unusable::new(NOT_APPROVED, "no_variant")));
            return None;
        };
        Some(Piece { approval: approval(&chosen), content: chosen.content, variant })
    }

    fn assets(&mut self, content: &ModuleContent, fault: &dyn Fn(Unusable) -> Unusable) {
        for id in &content.asset_ids {
            match self.library.assets.get(id) {
                None => self.wanted.assets.push(id.clone()),
                Some(asset) if asset.counts_at(self.ask.at) => {}
                Some(_) => {
                    self.fault(fault(Unusable::new(EXPIRED, format!("asset/{id}: expired"))))
                }
            }
        }
    }

    fn claim(&mut self, id: &str, selection: &mut Selection) {
        if selection.claims.contains_key(id) || self.wanted.claims.iter().any(|it| it == id) {
            return;
        }
        let Some(versions) = self.library.claims.get(id) else {
            return self.wanted.claims.push(id.to_owned());
        };
        match choice::claim(versions, self.ask) {
            Ok(chosen) => {
                self.references(id, &chosen.content);
                selection.claims.insert(id.to_owned(), (approval(&chosen), chosen.content));
            }
            Err(unusable) => self.fault(unusable.of_part(&Part::claim(id))),
        }
    }

    /// A claim counts while one of its references does: also before the end of a reference has withdrawn it.
    fn references(&mut self, claim_id: &str, content: &ClaimContent) {
        let unread = |id: &&String| !self.library.references.contains_key(*id);
        let unread: Vec<_> = content.reference_ids.iter().filter(unread).cloned().collect();
        let counts = |id: &String| {
            self.library.references.get(id).is_some_and(|it| it.counts_at(self.ask.at))
        };
        if unread.is_empty() && !content.reference_ids.iter().any(counts) {
            let unusable = Unusable::new(WITHDRAWN, "no valid reference");
            self.fault(unusable.of_part(&Part::claim(claim_id)));
        }
        self.wanted.references.extend(unread);
    }

    fn fault(&mut self, unusable: Unusable) {
        self.unusable.get_or_insert(unusable);
    }
}

fn approval<C>(chosen: &Chosen<'_, C>) -> Approval {
    Approval {
        version: chosen.version.number,
        content_hash: chosen.version.approved_hash.clone(),
        signature_ids: chosen.version.signature_ids.clone(),
    }
}

/// The slots that the variant prints, in order of appearance: subject, text, HTML.
fn printed(piece: &Piece) -> Vec<&Slot> {
    let Variant { subject, text, html, .. } = &piece.variant;
    // A template that cannot be read prints nothing; printing it fails.
    let segments = [subject, text, html].into_iter().flat_map(|it| parse(it).unwrap_or_default());
    segments
        .filter_map(|it| match it {
            Segment::Slot(name) => piece.content.slots.iter().find(|slot| slot.name == name),
            Segment::Text(_) => None,
        })
        .collect()
}
