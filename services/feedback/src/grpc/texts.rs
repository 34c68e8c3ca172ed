//! Texts, as a caller may see them.

use std::collections::BTreeMap;

use chassis::auth::Caller;
use chassis::status::Problem;

use super::Api;
use crate::domain::text::{Reader, State, Text};

/// The permission to read texts that are clear, beside the one a method declares.
const UNSEAL: &str = "feedback.texts.unseal";
/// The permission to read those of medical questions: for medical roles.
const UNSEAL_MEDICAL: &str = "feedback.medical.unseal";

/// Texts by id.
pub(super) struct Texts {
    reader: Reader,
    states: BTreeMap<String, State>,
}

impl Texts {
    /// A text and why it is withheld: one of the two, or neither where there is none.
    pub(super) fn shown(&self, text_id: &str) -> (String, String) {
        let Some(state) = self.states.get(text_id) else { return Default::default() };
        match state.open(self.reader) {
            Ok(text) => (text.to_owned(), String::new()),
            Err(why) => (String::new(), why.as_str().to_owned()),
        }
    }
}

impl Api {
    /// Loads texts for a caller; empty ids are none.
    pub(super) async fn texts<'a>(
        &self,
        caller: &Caller,
        text_ids: impl Iterator<Item = &'a String>,
    ) -> Result<Texts, Problem> {
        let ids: Vec<_> = text_ids.filter(|it| !it.is_empty()).cloned().collect();
        let allows = |permission| caller.permissions.allow(permission);
        let reader = Reader::Person { unseals: allows(UNSEAL), medical: allows(UNSEAL_MEDICAL) };
        let loaded = self.deps.store.load_many::<Text>(&caller.tenant, &ids).await?;
        let states = ids.into_iter().zip(loaded.into_iter().map(|it| it.state)).collect();
        Ok(Texts { reader, states })
    }
}
