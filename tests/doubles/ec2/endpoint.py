"""The EC2 endpoint: HTTP around `perform`, with authentication, rights, limits, faults and journal."""

from __future__ import annotations

import uuid

from starlette.requests import Request
from starlette.responses import Response

from tests.doubles.cloud import BodyTooLargeError, Cloud, read_body
from tests.doubles.ec2 import errors
from tests.doubles.ec2.actions import perform, require_action
from tests.doubles.ec2.authorization import denied
from tests.doubles.ec2.errors import Ec2Error
from tests.doubles.ec2.iam import AccessKey
from tests.doubles.ec2.query_protocol import Parameters, answer, decode, error_answer
from tests.doubles.ec2.signature import authenticate
from tests.doubles.ec2.throttling import bucket_of
from tests.doubles.fault_injection import Fault
from tests.doubles.journal import NO_ANSWER, Call

MAX_BODY_BYTES = 1 << 20


class Ec2Endpoint:
    """Answers calls of the EC2 Query API."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def __call__(self, request: Request) -> Response:
        """Answer one call: effect and journal entry first, then the delay of a fault, then the answer."""
        request_id = str(uuid.uuid4())
        try:
            body = await read_body(request, MAX_BODY_BYTES)
            action, parameters = decode(request.scope["query_string"], body)
        except BodyTooLargeError:
            # The rest of the body is not read, so the connection is of no use any more.
            error = Ec2Error("RequestEntityTooLarge", f"The request is larger than {MAX_BODY_BYTES} bytes.")
            return self._refused_unread(request, error, request_id)
        except Ec2Error as error:
            return self._refused_unread(request, error, request_id)
        call = self._cloud.arrival("ec2", request, action, parameters.sent)
        response, fault = await self._answer(request, call, parameters, request_id)
        return await self._cloud.deliver(request, response, fault)

    async def _answer(
        self, request: Request, call: Call, parameters: Parameters, request_id: str
    ) -> tuple[Response, Fault | None]:
        key: AccessKey | None = None
        fault: Fault | None = None
        result = "ok"
        try:
            key = self._authenticate(request, call.action, parameters)
            fault = self._cloud.faults.take(call.action, call.caller)
            if fault and fault.prevents:
                result, content = _in_its_place(fault), b""
            else:
                if fault and fault.effect_delay_ms:
                    await self._cloud.pause(fault.effect_delay_ms / 1000)
                content = self._carry_out(call.action, parameters, request_id)
            response = _response(content, 200, request_id)
        except Ec2Error as error:
            result = error.code
            response = _response(error_answer(error, request_id), error.status, request_id)
        self._cloud.finished(call, result, key, fault)
        return (_faulty(fault, response, request_id), fault) if fault else (response, None)

    def _carry_out(self, action: str, parameters: Parameters, request_id: str) -> bytes:
        cloud = self._cloud
        now = cloud.clock.monotonic()
        cloud.buckets.take(cloud.world.throttling, bucket_of(action, parameters), now)
        cloud.world, structure = perform(cloud.world, action, parameters, now)
        return answer(action, structure, request_id)

    def _authenticate(self, request: Request, action: str, parameters: Parameters) -> AccessKey:
        """Return the caller's credentials; raises `Ec2Error` for one who may not make this call."""
        world, headers = self._cloud.world, request.headers
        key = authenticate(world, headers.get("authorization"), headers.get("x-amz-security-token"))
        require_action(action)
        if missing := denied(world, key, action, parameters):
            raise errors.unauthorized(key.arn, missing.action, missing.arn)
        return key

    def _refused_unread(self, request: Request, error: Ec2Error, request_id: str) -> Response:
        self._cloud.finished(self._cloud.arrival("ec2", request, "", {}), error.code)
        return _response(error_answer(error, request_id), error.status, request_id)


def _response(content: bytes, status: int, request_id: str) -> Response:
    headers = {"server": "AmazonEC2", "x-amzn-requestid": request_id}
    return Response(content, status, headers, media_type="text/xml;charset=UTF-8")


def _in_its_place(fault: Fault) -> str:
    """Say for the journal what a call came to that had no effect."""
    if fault.error:
        return fault.error
    return f"HTTP {fault.status}" if fault.status else NO_ANSWER


def _faulty(fault: Fault, response: Response, request_id: str) -> Response:
    """Return what a fault answers in place of a response."""
    if fault.error:
        error = Ec2Error(fault.error, fault.message, fault.status)
        return _response(error_answer(error, request_id), error.status, request_id)
    if fault.status:
        # As by something before EC2 that knows nothing of its documents.
        page = f"<html><body><h1>{fault.status}</h1></body></html>\n"
        return Response(page, fault.status, media_type="text/html")
    return response
