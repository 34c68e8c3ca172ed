//! The timeline of a party.

use eventstore::{Error, Recorded};
use rapport_proto::profiles::v1::{TimelineEntry, interaction_event};

pub(crate) fn entry(event: &Recorded) -> Result<TimelineEntry, Error> {
    let envelope = &event.envelope;
    let actor = envelope.actor.clone().unwrap_or_default();
    Ok(TimelineEntry {
        position: event.position,
        event_id: envelope.id.clone(),
        r#type: envelope.r#type.clone(),
        stream: envelope.stream.clone(),
        occurred_time: envelope.occurred_at,
        recorded_time: envelope.recorded_at,
        actor: actor.subject,
        on_behalf_of: actor.on_behalf_of,
        reason: envelope.reason.clone(),
        summary: summary(event)?,
    })
}

/// The name of an interaction, or the words of the event's name: `Party contact point added`.
fn summary(event: &Recorded) -> Result<String, Error> {
    if let Some(interaction_event::Event::Recorded(it)) = event.decode()? {
        return Ok(it.name);
    }
    let name = event.envelope.r#type.rsplit('.').next().unwrap_or_default();
    Ok(words(name))
}

fn words(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (index, letter) in name.char_indices() {
        if index > 0 && letter.is_ascii_uppercase() {
            text.push(' ');
            text.push(letter.to_ascii_lowercase());
        } else {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn event_names_read_as_words() {
        assert_eq!(super::words("PartyContactPointAdded"), "Party contact point added");
    }
}
