"""The EC2 endpoint: HTTP around `perform`, with authentication, rights, faults and journal."""

from __future__ import annotations

import uuid

from starlette.requests import Request
from starlette.responses import Response

from tests.doubles import refusals
from tests.doubles.actions import perform, require_action, resource_arn
from tests.doubles.auth import authenticate
from tests.doubles.cloud import BodyTooLargeError, Cloud, read_body
from tests.doubles.faults import NO_FAULT
from tests.doubles.refusals import Ec2Error
from tests.doubles.wire import Parameters, answer, decode, error_answer

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
        return await self._answer(request, action, parameters, request_id)

    async def _answer(
        self, request: Request, action: str, parameters: Parameters, request_id: str
    ) -> Response:
        cloud = self._cloud
        call = cloud.arrival("ec2", request, action, parameters.sent)
        identity, fault = None, NO_FAULT
        try:
            identity = self._authenticate(request, action, parameters)
            fault = cloud.faults.take(action)
            fault.raise_error()
            cloud.world, structure = perform(cloud.world, action, parameters, cloud.clock.monotonic())
        except Ec2Error as error:
            cloud.finished(call, error.code, identity)
            response = _response(error_answer(error, request_id), error.status, request_id)
        else:
            cloud.finished(call, "ok", identity)
            response = _response(answer(action, structure, request_id), 200, request_id)
        if fault.delay_ms:
            await cloud.pause(fault.delay_ms / 1000)
        return response

    def _authenticate(self, request: Request, action: str, parameters: Parameters) -> str:
        """Give the caller's ARN; raises `Ec2Error` for one who may not make this call."""
        world, headers = self._cloud.world, request.headers
        key = authenticate(world, headers.get("authorization"), headers.get("x-amz-security-token"))
        require_action(action)
        if not key.allows(action):
            raise refusals.unauthorized(key.arn, action, resource_arn(world, parameters))
        return key.arn

    def _refused_unread(self, request: Request, error: Ec2Error, request_id: str) -> Response:
        self._cloud.finished(self._cloud.arrival("ec2", request, "", {}), error.code)
        return _response(error_answer(error, request_id), error.status, request_id)


def _response(content: bytes, status: int, request_id: str) -> Response:
    headers = {"server": "AmazonEC2", "x-amzn-requestid": request_id}
    return Response(content, status, headers, media_type="text/xml;charset=UTF-8")
