//! Who must review, by the review lines of the rule packs of the targeted markets.

use std::collections::BTreeSet;

use rapport_proto::content::v1::{PackUsed, ReviewRole};
use rapport_proto::decisioning::v1::{RulePack, RulePackActivated};
use rapport_proto::types::ContentClass;

/// Every role there is: what is required where no line says less.
pub(crate) const ALL: [ReviewRole; 3] =
    [ReviewRole::Medical, ReviewRole::Legal, ReviewRole::Regulatory];

/// The roles that must approve, and the packs that asked for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Requirement {
    pub(crate) roles: Vec<ReviewRole>,
    pub(crate) packs: Vec<PackUsed>,
}

/// The strictest requirement over markets, each with its pack in force: what any of them asks for is required. A market
/// without a pack, or whose pack has no line for the class, requires all roles; version 0 says so.
pub(crate) fn of_markets<'a>(
    markets: impl IntoIterator<Item = (&'a str, Option<&'a RulePackActivated>)>,
    class: ContentClass,
) -> Requirement {
    let (mut roles, mut packs) = (BTreeSet::new(), Vec::new());
    for (market, pack) in markets {
        let (asked, used) = of_market(market, pack, class);
        roles.extend(asked.into_iter().map(|it| it as i32));
        if !packs.contains(&used) {
            packs.push(used);
        }
    }
    let roles = ALL.into_iter().filter(|it| roles.contains(&(*it as i32))).collect();
    Requirement { roles, packs }
}

fn of_market(
    market: &str,
    pack: Option<&RulePackActivated>,
    class: ContentClass,
) -> (Vec<ReviewRole>, PackUsed) {
    let own = pack.and_then(|it| Some((market, it.version, it.document.as_ref()?)));
    let inherited = pack.into_iter().flat_map(|it| &it.inherited);
    let inherited =
        inherited.filter_map(|it| Some((it.pack.as_str(), it.version, it.document.as_ref()?)));
    // The nearest layer that has a line for the class answers.
    for (name, version, document) in own.into_iter().chain(inherited) {
        if let Some(roles) = in_layer(document, class) {
            return (roles, PackUsed { pack: name.to_owned(), version });
        }
    }
    (ALL.to_vec(), PackUsed { pack: market.to_owned(), version: 0 })
}

fn in_layer(document: &RulePack, class: ContentClass) -> Option<Vec<ReviewRole>> {
    let lines: Vec<_> = (document.review.iter())
        .filter(|line| line.content_classes.contains(&class.into()))
        .collect();
    let named = lines.iter().flat_map(|line| &line.roles).map(|it| role_of(it));
    let roles = named.collect::<Option<Vec<_>>>();
    match roles {
        _ if lines.is_empty() => None,
        // A role that is not known cannot be left out.
        None => Some(ALL.to_vec()),
        Some(roles) if roles.is_empty() => Some(ALL.to_vec()),
        Some(roles) => Some(roles),
    }
}

fn role_of(name: &str) -> Option<ReviewRole> {
    match name {
        "MEDICAL" => Some(ReviewRole::Medical),
        "LEGAL" => Some(ReviewRole::Legal),
        "REGULATORY" => Some(ReviewRole::Regulatory),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rapport_proto::decisioning::v1::{Inherited, ReviewLine};

    use super::*;

    const RX: ContentClass = ContentClass::RxPromotional;

    fn document(class: ContentClass, roles: &[&str]) -> Option<RulePack> {
        let roles = roles.iter().map(|it| (*it).to_owned()).collect();
        let review = vec![ReviewLine { content_classes: vec![class.into()], roles }];
        Some(RulePack { review, ..Default::default() })
    }

    fn pack(document: Option<RulePack>, inherited: Option<RulePack>) -> RulePackActivated {
        let inherited = inherited.map(|it| Inherited {
            pack: "eu-strict".into(),
            version: 7,
            document: Some(it),
        });
        let inherited = inherited.into_iter().collect();
        RulePackActivated { version: 3, document, inherited, ..Default::default() }
    }

    fn required(
        packs: &[(&str, Option<RulePackActivated>)],
    ) -> (Vec<ReviewRole>, Vec<(String, u32)>) {
        let markets = packs.iter().map(|(market, pack)| (*market, pack.as_ref()));
        let Requirement { roles, packs } = of_markets(markets, RX);
        (roles, packs.into_iter().map(|it| (it.pack, it.version)).collect())
    }

    #[test]
    fn the_nearest_line_for_the_class_answers() {
        let near = pack(document(RX, &["MEDICAL"]), document(RX, &["LEGAL", "REGULATORY"]));
        assert_eq!(
            required(&[("DE", Some(near))]),
            (vec![ReviewRole::Medical], vec![("DE".into(), 3)])
        );
        let other = ContentClass::Service;
        let far = pack(document(other, &["LEGAL"]), document(RX, &["MEDICAL", "LEGAL"]));
        let roles = vec![ReviewRole::Medical, ReviewRole::Legal];
        assert_eq!(required(&[("DE", Some(far))]), (roles, vec![("eu-strict".into(), 7)]));
    }

    #[test]
    fn the_strictest_market_counts() {
        let germany = pack(document(RX, &["LEGAL"]), None);
        let france = pack(document(RX, &["MEDICAL"]), None);
        let (roles, packs) = required(&[("DE", Some(germany)), ("FR", Some(france))]);
        assert_eq!(roles, [ReviewRole::Medical, ReviewRole::Legal]);
        assert_eq!(packs, [("DE".into(), 3), ("FR".into(), 3)]);
    }

    #[test]
    fn no_pack_no_line_and_an_unknown_role_require_all() {
        let no_line = pack(document(ContentClass::Service, &["LEGAL"]), None);
        let unknown = pack(document(RX, &["LEGAL", "ASTROLOGICAL"]), None);
        let nobody = pack(document(RX, &[]), None);
        for (pack, version) in
            [(None, 0), (Some(no_line), 0), (Some(unknown), 3), (Some(nobody), 3)]
        {
            assert_eq!(required(&[("DE", pack)]), (ALL.to_vec(), vec![("DE".into(), version)]));
        }
    }
}
