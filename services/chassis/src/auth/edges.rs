//! The call graph between targets: the only calls a service token allows. Network policies follow the same table.

/// `from` may call `rpc` of `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub from: &'static str,
    pub to: &'static str,
    /// A method, or a service followed by `/*`.
    pub rpc: &'static str,
}

macro_rules! edges {
    ($($from:ident -> $to:ident: $($rpc:literal),*;)*) => {
        &[$($(Edge { from: stringify!($from), to: stringify!($to), rpc: $rpc }),*),*]
    };
}

/// Every edge that exists. It has no cycle; a call that is not here is a design change.
pub const EDGES: &[Edge] = edges! {
    gateway -> profiles: "AuthenticateSource", "RecordInteractions", "LookupParty", "RegisterParty", "SetAttributes",
        "AddIdentifier", "WithdrawConsent";
    gateway -> delivery: "RecordProviderEvents";
    gateway -> feedback: "OpenLink", "SubmitResponse";
    delivery -> journeys: "CheckInstance";
    delivery -> profiles: "ResolveRecipient";
    delivery -> content: "Render";
    delivery -> decisioning: "CheckOutbound";
    journeys -> profiles: "GetFacts", "CheckNames";
    journeys -> decisioning: "Decide", "CheckOutbound";
    journeys -> content: "CheckUsable";
    decisioning -> profiles: "GetFacts";
};

/// The service every target serves and every target may call, to heal a gap.
pub const EVENT_LOG: &str = "rapport.eventlog.v1.EventLogService";

/// True when the target may call the method, given as `package.Service/Method`.
pub fn allows(from: &str, method: &str) -> bool {
    let Some((service, rpc)) = method.split_once('/') else {
        return false;
    };
    if service == EVENT_LOG {
        return true;
    }
    let Some(to) = target_of(service) else {
        return false;
    };
    let name = service.rsplit('.').next().unwrap_or_default();
    EDGES.iter().filter(|edge| edge.from == from && edge.to == to).any(|edge| {
        match edge.rpc.strip_suffix("/*") {
            Some(whole) => whole == name,
            None => edge.rpc == rpc,
        }
    })
}

/// `rapport.profiles.v1.PartyService` → `profiles`; `None` for what every target serves.
pub fn target_of(service: &str) -> Option<&str> {
    let target = service.strip_prefix("rapport.")?.split('.').next()?;
    (!["eventlog", "simulation"].contains(&target)).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_edges_exist() {
        assert!(allows("gateway", "rapport.profiles.v1.PartyService/RegisterParty"));
        assert!(allows("gateway", "rapport.feedback.v1.FeedbackService/OpenLink"));
        assert!(!allows("kpis", "rapport.feedback.v1.FeedbackService/OpenLink"));
        assert!(!allows("gateway", "rapport.profiles.v1.PartyService/GetParty"));
        assert!(!allows("gateway", "rapport.content.v1.PartyService/RegisterParty"));
        assert!(!allows("profiles", "rapport.journeys.v1.JourneyService/CheckInstance"));
        assert!(!allows("gateway", "nonsense"));
    }

    #[test]
    fn every_target_may_heal_from_every_other() {
        assert!(allows("kpis", "rapport.eventlog.v1.EventLogService/ReadEvents"));
    }

    #[test]
    fn the_graph_has_no_cycle() {
        let mut left: Vec<&Edge> = EDGES.iter().collect();
        loop {
            let before = left.len();
            // A target nobody calls cannot be on a cycle: drop its edges until nothing changes.
            let called: Vec<&str> = left.iter().map(|edge| edge.to).collect();
            left.retain(|edge| called.contains(&edge.from));
            if left.len() == before {
                break;
            }
        }
        assert_eq!(left, Vec::<&Edge>::new());
    }
}
