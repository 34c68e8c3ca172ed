"""Callers who go on calling until standard input ends, each over a connection of its own.

    python callers.py PROTO_FOLDER TOKEN PLACE...

A PLACE is TARGET=ADDRESS, and is called as `proto/service-config.json` has it. For TARGET!=ADDRESS the library repeats
nothing that a server has seen; what is UNAVAILABLE is told and repeated here.

Tells on standard output, one JSON object a line, what became of each call: of which caller (the number of its place), and
`party` of one that was registered, `again` and `reason` of one that is repeated, or `failed`.
"""

import json
import pathlib
import sys
import tempfile
import threading
import time
from importlib import import_module

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from client import Bearer, expect, generate

PARENT = "tenants/default"
# Where nothing is registered, one page of this is read.
LISTED = {
    "content": ("content.v1.module", "Module", "ListModules"),
    "decisioning": ("decisioning.v1.rule_pack", "RulePack", "ListRulePacks"),
    "journeys": ("journeys.v1.journey", "Journey", "ListJourneys"),
    "delivery": ("delivery.v1.delivery", "Delivery", "ListTouches"),
    "feedback": ("feedback.v1.survey", "Survey", "ListSurveys"),
    "kpis": ("kpis.v1.metric", "Metric", "ListMetrics"),
    "audit": ("audit.v1.audit", "Audit", "SearchEvents"),
}
REGISTERED_AT = ("profiles", "gateway")
BETWEEN_CALLS_S = 0.05
CALL_TIMEOUT_S = 60
ATTEMPTS = 8

told = threading.Lock()


def tell(caller: int, **what) -> None:
    with told:
        print(json.dumps({"caller": caller, **what}), flush=True)


def module(name: str, kind: str):
    return import_module(f"rapport.{name}_service_{kind}")


class Caller:
    def __init__(self, number: int, place: str, policy: str, token: str) -> None:
        target, address = place.split("=")
        self.number, self.target, self.repeats = number, target.rstrip("!"), target.endswith("!")
        options = [("grpc.use_local_subchannel_pool", 1)]
        if not self.repeats:
            options.append(("grpc.service_config", policy))
        self.channel = grpc.insecure_channel(address, options)
        self.way = grpc.intercept_channel(self.channel, Bearer(token))

    def call(self, stop: threading.Event) -> None:
        call = 0
        while not stop.is_set():
            call += 1
            try:
                tell(self.number, **self.answered(call))
            except Exception as error:  # whatever it is, the test is told
                tell(self.number, failed=repr(error))
                return
            time.sleep(BETWEEN_CALLS_S)
        self.channel.close()

    def answered(self, call: int) -> dict:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self.ask(call)
            except grpc.RpcError as error:
                repeated = self.repeats and error.code() == grpc.StatusCode.UNAVAILABLE
                if not repeated or attempt == ATTEMPTS:
                    raise
                tell(self.number, again=f"{time.time()}: {error.details()}", reason=reason(error))
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def ask(self, call: int) -> dict:
        if self.target in REGISTERED_AT:
            api = module("profiles.v1.party", "pb2")
            request = api.RegisterPartyRequest(
                parent=PARENT, kind="PARTY_KIND_HCP", market="DE", request_id=f"caller-{self.number}-{call}-0000"
            )
            stub = module("profiles.v1.party", "pb2_grpc").PartyServiceStub(self.way)
            return {"party": stub.RegisterParty(request, timeout=CALL_TIMEOUT_S).party.party_id}
        package, service, method = LISTED[self.target]
        request = getattr(module(package, "pb2"), f"{method}Request")(parent=PARENT, page_size=1)
        stub = getattr(module(package, "pb2_grpc"), f"{service}ServiceStub")(self.way)
        getattr(stub, method)(request, timeout=CALL_TIMEOUT_S)
        return {}


def reason(error: grpc.RpcError) -> str:
    """That of Rapport; empty when it is the library that says UNAVAILABLE, because the connection broke."""
    info, status = error_details_pb2.ErrorInfo(), rpc_status.from_call(error)
    for detail in status.details if status else []:
        detail.Unpack(info)
    return info.reason


def main(protos: str, token: str, *places: str) -> None:
    folder = pathlib.Path(protos).resolve()
    policy = (folder / "service-config.json").read_text()
    expect(len(places) > 0, "somebody calls")
    with tempfile.TemporaryDirectory() as out:
        generate(folder, out)
        callers = [Caller(number, place, policy, token) for number, place in enumerate(places)]
        stop = threading.Event()
        threads = [threading.Thread(target=it.call, args=[stop]) for it in callers]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
