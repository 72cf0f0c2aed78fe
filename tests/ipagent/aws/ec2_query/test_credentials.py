"""When credentials are read and renewed, and what is no document of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.serialize import create_serializer
from botocore.utils import parse_timestamp
from hypothesis import given
from hypothesis import strategies as st

from ipagent.assign.errors import BadImdsAnswer, NoImds
from ipagent.aws.ec2_query.connection_pool import ConnectionPool, NoAnswerError, NotSentError
from ipagent.aws.ec2_query.credentials import AGAIN_SECONDS, RENEWED_SECONDS, Credentials, NoKeysError
from ipagent.aws.ec2_query.environment import Source
from ipagent.aws.ec2_query.signature import Keys
from ipagent.aws.imds import Imds

pytestmark = pytest.mark.pure

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = 3600.0


def document(expires: float, key: str = "AKID") -> dict[str, object]:
    """Return what IMDS shows of credentials that expire in so many seconds."""
    at = f"{NOW + timedelta(seconds=expires):%Y-%m-%dT%H:%M:%SZ}"
    return {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": "s", "Token": "t", "Expiration": at}


class Role:
    """The node's role by IMDS; an error is raised in place of a document."""

    def __init__(self, shown: object) -> None:
        self.shown = shown
        self.asked = 0
        self.now = NOW.timestamp()

    def role_document(self) -> Mapping[str, object]:
        self.asked += 1
        if isinstance(self.shown, Exception):
            raise self.shown
        return cast("Mapping[str, object]", self.shown)

    def credentials(self) -> Credentials:
        return made(Source.NODE, {}, imds=lambda: cast("Imds", self), now=lambda: self.now)

    def after(self, seconds: float) -> None:
        self.now = NOW.timestamp() + seconds


def unused() -> Any:
    raise AssertionError("nobody asks for it")


def made(
    source: Source,
    env: Mapping[str, str],
    *,
    imds: Callable[[], Imds] = unused,
    sts: Callable[[], ConnectionPool] = unused,
    now: Callable[[], float] = NOW.timestamp,
) -> Credentials:
    return Credentials(source, env, imds=imds, sts=sts, now=now)


class TestExpiry:
    def test_they_are_read_once_until_they_expire_soon(self) -> None:
        role = Role(document(6 * HOUR))
        credentials = role.credentials()
        first = credentials.current()
        assert first == Keys("AKID", "s", "t", role.now + 6 * HOUR)
        role.after(6 * HOUR - RENEWED_SECONDS - 1)
        assert credentials.current() is first
        assert role.asked == 1
        role.shown = document(12 * HOUR, "NEXT")
        role.after(6 * HOUR - RENEWED_SECONDS)
        assert credentials.current().access_key == "NEXT"
        role.after(11 * HOUR)
        assert credentials.current().access_key == "NEXT"
        assert role.asked == 2

    def test_the_same_ones_are_asked_for_once_a_minute(self) -> None:
        role = Role(document(HOUR))
        credentials = role.credentials()
        credentials.current()
        for minute in range(10):
            for second in (0, 1, AGAIN_SECONDS - 1):
                role.after(HOUR - RENEWED_SECONDS + minute * AGAIN_SECONDS + second)
                assert credentials.current().access_key == "AKID"
        assert role.asked == 11

    def test_valid_ones_serve_while_the_source_fails(self) -> None:
        role = Role(document(HOUR))
        credentials = role.credentials()
        credentials.current()
        role.shown = BadImdsAnswer("busy")
        for left in range(RENEWED_SECONDS, AGAIN_SECONDS, -1):
            role.after(HOUR - left)
            assert credentials.current().access_key == "AKID"
        assert role.asked == RENEWED_SECONDS // AGAIN_SECONDS
        role.after(HOUR - AGAIN_SECONDS)
        with pytest.raises(NoKeysError):
            credentials.current()

    def test_it_is_asked_again_after_it_has_failed(self) -> None:
        role = Role(NoImds("no"))
        credentials = role.credentials()
        with pytest.raises(NoKeysError):
            credentials.current()
        role.shown = document(HOUR)
        assert credentials.current().access_key == "AKID"

    @pytest.mark.parametrize("seconds", [-HOUR, 0, AGAIN_SECONDS])
    def test_expired_ones_are_none(self, seconds: float) -> None:
        with pytest.raises(NoKeysError):
            Role(document(seconds)).credentials().current()

    @given(st.lists(st.tuples(st.integers(0, 4000), st.sampled_from([None, 30, 600, 4000])), max_size=20))
    def test_none_is_given_that_has_expired(self, steps: list[tuple[int, int | None]]) -> None:
        role = Role(document(HOUR))
        credentials, passed = role.credentials(), 0
        for seconds, lifetime in steps:
            passed += seconds
            role.after(passed)
            role.shown = NoImds("no") if lifetime is None else document(passed + lifetime)
            try:
                assert credentials.current().expires > role.now
            except NoKeysError:
                assert lifetime in (None, 30)


WHOLE = document(HOUR)


@pytest.mark.parametrize(
    "shown",
    [
        {},
        [],
        *({name: value for name, value in WHOLE.items() if name != left} for left in list(WHOLE)[1:]),
        *({**WHOLE, name: ""} for name in list(WHOLE)[1:]),
        *({**WHOLE, name: None} for name in list(WHOLE)[1:]),
        *({**WHOLE, name: ["x"]} for name in list(WHOLE)[1:]),
        *({**WHOLE, name: "é"} for name in list(WHOLE)[1:]),
        *({**WHOLE, name: f"{WHOLE[name]}\n"} for name in list(WHOLE)[1:]),
        *(
            {**WHOLE, "Expiration": text}
            for text in ("soon", "2999-01-01T00:00:00", "2999-13-01T00:00:00Z", "1")
        ),
        {**WHOLE, "Expiration": 1767323045},
        {"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"},
    ],
    ids=str,
)
def test_what_is_no_document_is_left_to_botocore(shown: object) -> None:
    with pytest.raises(NoKeysError) as caught:
        Role(shown).credentials().current()
    assert (str(caught.value), caught.value.__cause__) == ("", None)


@pytest.mark.parametrize("error", [NoImds("x"), BadImdsAnswer("x"), OSError("x"), ValueError("x")])
def test_whatever_reading_raises_is_left_to_botocore(error: Exception) -> None:
    with pytest.raises(NoKeysError):
        Role(error).credentials().current()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(WHOLE)), JSON))
def test_no_document_raises_anything_else(shown: dict[str, object]) -> None:
    with suppress(NoKeysError):
        Role({**WHOLE, **shown}).credentials().current()


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(2027, 1, 1), datetime(2999, 1, 1), timezones=st.one_of(st.just(UTC), ZONES))  # noqa: DTZ001 - hypothesis wants them without


@given(TIMES, st.booleans())
def test_times_are_those_that_botocore_reads(at: datetime, zulu: bool) -> None:
    text = at.astimezone(UTC).isoformat().replace("+00:00", "Z") if zulu else at.isoformat()
    keys = Role({**WHOLE, "Expiration": text}).credentials().current()
    assert keys.expires == parse_timestamp(text).timestamp()


ENV = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}


class TestEnvironment:
    def test_they_are_those_of_the_variables_for_good(self) -> None:
        assert made(Source.ENV, ENV).current() == Keys("AKID", "s", "t", float("inf"))
        without = {**ENV, "AWS_SESSION_TOKEN": ""}
        assert made(Source.ENV, without).current() == Keys("AKID", "s", "", float("inf"))

    @pytest.mark.parametrize("name", ENV)
    @pytest.mark.parametrize(
        "value", ["hidden\n", "hid\rden", "hidden\x00", "hidden€", "hiddené", "hidden\udc80"]
    )
    def test_what_can_not_be_sent_is_left_to_botocore_unquoted(self, name: str, value: str) -> None:
        with pytest.raises(NoKeysError) as caught:
            made(Source.ENV, {**ENV, name: value}).current()
        assert "hid" not in repr(caught.value)


ARN = "arn:aws:iam::123456789012:role/pods"
ASSUMED = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:a:b</SubjectFromWebIdentityToken>
    <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/pods/s</Arn></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s&amp;s</SecretAccessKey>
      <SessionToken>t/+=</SessionToken><Expiration>2026-01-02T04:04:05Z</Expiration>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>"""
REFUSED = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code></Error></ErrorResponse>"


class Sts:
    """STS, with one answer; an error is raised in its place."""

    def __init__(self, token: Path, status: int, body: str, error: Exception | None = None) -> None:
        self.token, self.answer, self.error = token, (status, body.encode()), error
        self.forms: list[dict[str, str]] = []
        self.closed = 0

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        assert headers == {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        self.forms.append(dict(parse_qsl(body.decode("ascii"), strict_parsing=True)))
        if self.error:
            raise self.error
        return self.answer

    def close(self) -> None:
        self.closed += 1

    def credentials(self, **more: str) -> Credentials:
        env = {"AWS_ROLE_ARN": ARN, "AWS_WEB_IDENTITY_TOKEN_FILE": str(self.token), **more}
        return made(Source.WEB_IDENTITY, env, sts=lambda: cast("ConnectionPool", self))


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("a.web.token")
    return path


class TestWebIdentity:
    @pytest.mark.parametrize("session", ["", "mine"])
    def test_sts_is_asked_as_botocore_asks(self, token: Path, session: str) -> None:
        sts = Sts(token, 200, ASSUMED)
        found = sts.credentials(AWS_ROLE_SESSION_NAME=session).current()
        assert found == Keys("ASIA", "s&s", "t/+=", NOW.timestamp() + HOUR)
        name = session or f"botocore-session-{int(NOW.timestamp())}"
        parameters = {"RoleArn": ARN, "RoleSessionName": name, "WebIdentityToken": "a.web.token"}
        model = ServiceModel(Loader().load_service_model("sts", "service-2"), "sts")
        serializer: Any = create_serializer("query", include_validation=False)
        operation = model.operation_model("AssumeRoleWithWebIdentity")
        assert sts.forms == [serializer.serialize_to_request(parameters, operation)["body"]]
        assert sts.closed == 1

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (403, REFUSED),
            (200, REFUSED),
            (200, ""),
            (503, "down"),
            (200, ASSUMED.replace("SessionToken", "Other")),
            (200, ASSUMED.replace("2026-01-02T04", "2026-01-02T03")),
            (200, ASSUMED.replace("Credentials>", "Others>")),
            (200, ASSUMED.replace("ASIA", "")),
            (200, ASSUMED.replace("WithWebIdentity", "WithSAML")),
        ],
    )
    def test_what_are_no_credentials_is_left_to_botocore(self, token: Path, status: int, body: str) -> None:
        sts = Sts(token, status, body)
        with pytest.raises(NoKeysError):
            sts.credentials().current()
        assert (len(sts.forms), sts.closed) == (1, 1)

    @pytest.mark.parametrize("error", [NotSentError("x"), NoAnswerError("x"), OSError("x")])
    def test_an_sts_that_is_not_reached_is_left_to_botocore(self, token: Path, error: Exception) -> None:
        sts = Sts(token, 200, ASSUMED, error)
        with pytest.raises(NoKeysError):
            sts.credentials().current()
        assert sts.closed == 1

    @pytest.mark.parametrize("content", ["", "a\n", "\n", "é"])
    def test_a_token_that_can_not_be_sent_is_left_to_botocore(self, token: Path, content: str) -> None:
        token.write_text(content)
        sts = Sts(token, 200, ASSUMED)
        with pytest.raises(NoKeysError):
            sts.credentials().current()
        assert sts.forms == []
