"""A client that knows nothing but the protos: generates its stubs, tells a short story, checks each answer.

    python client.py PROTO_FOLDER ADDRESS TOKEN [TENANT]

Ends with status 0 when every answer was as expected, and otherwise with the first that was not.
"""

import pathlib
import sys
import tempfile
import types
from importlib import import_module, resources

import grpc
import grpc_tools
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

PACKAGE = "rapport.profiles.v1"
NPI = "1234567893"  # the example of the NPI standard: its check digit is right


def generate(protos: pathlib.Path, out: str) -> None:
    """Compiles every proto into `out` and makes it importable."""
    known = resources.files(grpc_tools) / "_proto"
    files = sorted(str(path.relative_to(protos)) for path in protos.glob("rapport/**/*.proto"))
    arguments = ["protoc", f"-I{protos}", f"-I{known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    expect(protoc.main([*arguments, *files]) == 0, "the protos compile for Python")
    sys.path.insert(0, out)


def load() -> types.SimpleNamespace:
    """The generated messages and stubs of the package, in one namespace."""
    names = {}
    for module in ("party_service", "consent_service", "source_service", "events"):
        for kind in ("pb2", "pb2_grpc"):
            names |= vars(import_module(f"{PACKAGE}.{module}_{kind}"))
    for module in ("party", "value"):
        names |= vars(import_module(f"rapport.type.v1.{module}_pb2"))
    return types.SimpleNamespace(**names)


def story(api: types.SimpleNamespace, channel: grpc.Channel, stranger: grpc.Channel, parent: str) -> None:
    parties = api.PartyServiceStub(channel)
    party = a_party_is_registered_once(api, parties, parent)
    a_party_is_found(api, parties, parent, party)
    pages_join_up(api, parties, parent)
    consent_allows_until_withdrawn(api, api.ConsentServiceStub(channel), parent, party)
    an_interaction_counts_once(api, api.SourceServiceStub(channel), parent, party)
    refusals_are_typed(api, parties, api.PartyServiceStub(stranger), parent)


def a_party_is_registered_once(api, parties, parent):
    request = api.RegisterPartyRequest(
        parent=parent,
        kind=api.PARTY_KIND_HCP,
        market="DE",
        language="de-DE",
        time_zone="Europe/Berlin",
        personal_attributes={"family_name": "Muster"},
        identifiers=[api.Identifier(system="npi", value=NPI)],
        contact_points=[api.ContactPoint(channel=api.CHANNEL_EMAIL, value="muster@example.org")],
        request_id="python-register-1",
    )
    first = parties.RegisterParty(request)
    again = parties.RegisterParty(request)
    expect(first.party.party_id.startswith("pty_"), "a registered party has an id")
    expect(first.position > 0, "a reply carries the position at which it holds")
    expect(again.party.party_id == first.party.party_id, "a repeated request id returns the first outcome")
    expect(again.position == first.position, "a repeated request id returns the first position")
    return first.party


def a_party_is_found(api, parties, parent, party):
    by_name = parties.GetParty(api.GetPartyRequest(name=party.name)).party
    expect(by_name == party, "a party read by name is the one that was registered")
    lookup = api.LookupPartyRequest(parent=parent, system="npi", value=NPI)
    expect(parties.LookupParty(lookup).party.party_id == party.party_id, "a party is found by its NPI")


def pages_join_up(api, parties, parent):
    for number in range(3):
        parties.RegisterParty(
            api.RegisterPartyRequest(
                parent=parent, kind=api.PARTY_KIND_PATIENT, market="FR", request_id=f"python-page-{number}"
            )
        )
    found, token = [], ""
    while True:
        request = api.ListPartiesRequest(parent=parent, page_size=2, page_token=token, market="FR")
        page = parties.ListParties(request)
        expect(len(page.parties) <= 2, "a page is no longer than asked")
        found += [party.party_id for party in page.parties]
        token = page.next_page_token
        if not token:
            break
    expect(len(found) == len(set(found)) == 3, "pages hold every party once")


def consent_allows_until_withdrawn(api, consents, parent, party):
    key = api.ConsentKey(
        party_id=party.party_id,
        purpose=api.PURPOSE_PROMOTIONAL,
        channel=api.CHANNEL_EMAIL,
        sender_id="acme",
        market="DE",
    )
    check = api.CheckConsentRequest(parent=parent, key=key)
    expect(not consents.CheckConsent(check).allowed, "nothing is allowed before it was granted")
    granted = consents.RecordConsent(
        api.RecordConsentRequest(
            parent=parent,
            key=key,
            state=api.Consent.STATE_GRANTED,
            regime_shown=api.REGIME_OPT_IN,
            source="paper-form",
            text_version="2",
            language="de-DE",
            request_id="python-grant-1",
        )
    )
    verdict = consents.CheckConsent(check)
    expect(verdict.allowed, "a grant allows")
    expect(verdict.consent_id == granted.consent.consent_id, "the verdict names the consent that decided")
    consents.WithdrawConsent(
        api.WithdrawConsentRequest(
            parent=parent, key=key, reason="asked", source="phone", request_id="python-withdraw-1"
        )
    )
    verdict = consents.CheckConsent(check)
    expect(not verdict.allowed and verdict.detail == "withdrawn", "a withdrawal ends it at once")


def an_interaction_counts_once(api, sources, parent, party):
    source = sources.RegisterSource(
        api.RegisterSourceRequest(
            parent=parent,
            source_id="web-shop",
            owner="commerce",
            clear_fields=[api.ClearField(name="total", kind=api.CLEAR_KIND_NUMBER)],
            request_id="python-source-1",
        )
    ).source
    now = Timestamp()
    now.GetCurrentTime()
    item = api.NewInteraction(
        message_id="m-1", name="Order Completed", occurred_time=now, party_id=party.party_id
    )
    item.properties.update({"total": 12.5, "note": "ring twice"})
    report = api.RecordInteractionsRequest(parent=source.name, interactions=[item], request_id="python-report-1")
    outcome = api.RecordInteractionsResponse.Verdict
    expect(verdicts(sources, report) == [outcome.OUTCOME_RECORDED], "an interaction is recorded")
    report.request_id = "python-report-2"
    expect(verdicts(sources, report) == [outcome.OUTCOME_DUPLICATE], "the same message again is a duplicate")
    listed = sources.ListInteractions(api.ListInteractionsRequest(parent=party.name)).interactions
    expect([it.message_id for it in listed] == ["m-1"], "an interaction is listed once")
    expect(listed[0].properties["total"].number == 12.5, "a declared property is clear")
    expect("note" not in listed[0].properties, "an undeclared property is not clear")


def verdicts(sources, report):
    return [verdict.outcome for verdict in sources.RecordInteractions(report).verdicts]


def refusals_are_typed(api, parties, without_token, parent):
    bad = api.RegisterPartyRequest(
        parent=parent,
        kind=api.PARTY_KIND_HCP,
        market="DE",
        identifiers=[api.Identifier(system="npi", value="1234567890")],
        request_id="python-refused-1",
    )
    info, violations = refusal(lambda: parties.RegisterParty(bad), grpc.StatusCode.INVALID_ARGUMENT)
    expect(info.reason != "", "a refusal has a reason")
    expect(
        any(it.field.startswith("identifiers[0]") and it.description for it in violations),
        "a bad NPI is reported on its field, with a remedy",
    )
    missing = api.GetPartyRequest(name=f"{parent}/parties/pty_aaaaaaaaaaaaaaaaaaaaaaaaaa")
    refusal(lambda: parties.GetParty(missing), grpc.StatusCode.NOT_FOUND)
    foreign = api.ListPartiesRequest(parent="tenants/somebody-else")
    # Not "denied": whether another tenant has it is not told.
    refusal(lambda: parties.ListParties(foreign), grpc.StatusCode.NOT_FOUND)
    unknown = api.ListPartiesRequest(parent=parent)
    info, _ = refusal(lambda: without_token.ListParties(unknown), grpc.StatusCode.UNAUTHENTICATED)
    expect(info.reason == "TOKEN_MISSING", "a call without a token is told so")


def refusal(call, code):
    """The ErrorInfo and field violations of a call that must fail with `code`."""
    try:
        call()
    except grpc.RpcError as error:
        expect(error.code() == code, f"{code} was expected, not {error.code()}: {error.details()}")
        status = rpc_status.from_call(error)
        expect(status is not None, f"{code} carries a google.rpc.Status")
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details:
            detail.Unpack(info) or detail.Unpack(request)
        expect(info.domain == "rapport", f"{code} carries an ErrorInfo of the domain rapport")
        return info, list(request.field_violations)
    raise SystemExit(f"not so: a call is refused with {code}")


def expect(so: bool, claim: str) -> None:
    if not so:
        raise SystemExit(f"not so: {claim}")


class Bearer(grpc.UnaryUnaryClientInterceptor):
    """Sends the token with each call. gRPC's own call credentials refuse to do so in plaintext."""

    def __init__(self, token: str) -> None:
        self.header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation, details, request):
        metadata = [*(details.metadata or []), self.header]
        return continuation(details._replace(metadata=metadata), request)


def main(protos: str, address: str, token: str, tenant: str = "default") -> None:
    with tempfile.TemporaryDirectory() as out, grpc.insecure_channel(address) as channel:
        generate(pathlib.Path(protos).resolve(), out)
        story(load(), grpc.intercept_channel(channel, Bearer(token)), channel, f"tenants/{tenant}")


if __name__ == "__main__":
    main(*sys.argv[1:])
