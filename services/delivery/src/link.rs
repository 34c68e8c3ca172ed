//! The personal link of an invitation. The token in it lets its holder answer, so it is made when the message is handed
//! over and is nowhere else: while the module is rendered and hashed, a placeholder stands in its slot.

use chassis::auth::ServiceKeys;
use chassis::token;

use crate::adapters::Message;

/// The module's LINK slot that takes the link.
pub(crate) const SLOT: &str = "survey";
/// What stands there until then; `.invalid` is nobody's (RFC 2606).
pub(crate) const PLACEHOLDER: &str = "https://survey.invalid/personal-link";

/// Puts the link in its place; the code of a refusal when there is none to put, or no place for it: a question that
/// cannot be answered is not asked.
pub(crate) fn personalise(
    message: &mut Message,
    keys: &ServiceKeys,
    survey_url: &str,
    invitation_id: &str,
) -> Result<(), &'static str> {
    if survey_url.is_empty() {
        return Err("survey_url");
    }
    if !message.text.contains(PLACEHOLDER) {
        return Err("survey_link");
    }
    let token = token::mint(keys, &message.tenant, token::SURVEY, invitation_id);
    let link = format!("{}/f/{token}", survey_url.trim_end_matches('/'));
    message.text = message.text.replace(PLACEHOLDER, &link);
    message.html = message.html.replace(PLACEHOLDER, &link);
    Ok(())
}
