//! Senders.

use chassis::status::Problem;
use chassis::text::Check;
use rapport_proto::delivery::v1 as proto;

use super::{authored_id, line, required};
use crate::adapters::email;
use crate::domain::sender::Command;

/// The id and the command of a registration.
pub(crate) fn register(
    request: &proto::RegisterSenderRequest,
) -> Result<(String, Command), Problem> {
    let stated = required("sender", request.sender.as_ref())?;
    let mut check = Check::default();
    let sender = proto::Sender {
        sender_id: authored_id(&mut check, "sender.sender_id", &stated.sender_id),
        legal_entity: check.text("sender.legal_entity", &stated.legal_entity, 1..=200),
        brand: line(&mut check, "sender.brand", &stated.brand, 200),
        from_address: line(&mut check, "sender.from_address", &stated.from_address, 254),
        from_name: line(&mut check, "sender.from_name", &stated.from_name, 200),
        unsubscribe_url: line(&mut check, "sender.unsubscribe_url", &stated.unsubscribe_url, 1000),
    };
    let address = &sender.from_address;
    check.require(
        address.is_empty() || email::is_address(address),
        "sender.from_address",
        "Use an e-mail address, for example news@example.com, without a name.",
    );
    let url = &sender.unsubscribe_url;
    check.require(
        url.is_empty() || email::is_unsubscribe_url(url),
        "sender.unsubscribe_url",
        "Use an https URL that holds {token}, without spaces and brackets.",
    );
    check.finish()?;
    Ok((sender.sender_id.clone(), Command::Register(sender)))
}
