"""What is no answer of EC2's: errors, pages of proxies, parts of answers, documents that attack a parser."""

from __future__ import annotations

import pytest
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from ipagent.aws.ec2_query.query_protocol import MAX_DEPTH, NotAnAnswerError, RefusedError, read_answer
from tests.ipagent.aws.ec2_query.botocore_oracle import answer_of
from tests.work_counter import count_work

pytestmark = pytest.mark.pure

ENIS = "DescribeNetworkInterfaces"
ANSWER = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/'
    b'doc/2016-11-15/"><requestId>r</requestId><networkInterfaceSet><item><networkInterfaceId>eni-1'
    b"</networkInterfaceId><description>\xc3\xa9 &amp; b</description><tagSet/></item></networkInterfaceSet>"
    b"</DescribeNetworkInterfacesResponse>"
)


def errors(*contents: str, root: str = "Response") -> bytes:
    inner = "".join(f"<Error>{each}</Error>" for each in contents)
    return f"<{root}><Errors>{inner}</Errors><RequestID>r</RequestID></{root}>".encode()


THROTTLED = "<Code>RequestLimitExceeded</Code><Message>Request limit &lt;exceeded&gt;.</Message>"


@pytest.mark.parametrize("status", [200, 400, 500, 503])
@pytest.mark.parametrize(
    "contents",
    [
        (THROTTLED,),
        (THROTTLED.replace("><", ">\n <"),),
        (THROTTLED, "<Code>Another</Code><Message>Not this one.</Message>"),
        ("<Code>RequestLimitExceeded</Code><Message>Request limit &#60;exceeded></Message><Type>x</Type>",),
        ("<Message/><Code>UnauthorizedOperation</Code>",),
    ],
    ids=["an error", "with spaces", "the first of two", "more than is read", "no message"],
)
def test_an_error_of_ec2s_is_read_as_botocore_reads_it(contents: tuple[str, ...], status: int) -> None:
    body = errors(*contents)
    with pytest.raises(RefusedError) as caught:
        read_answer(ENIS, status, body)
    # With HTTP 200 botocore takes it for an answer: `botocore_errors.prepare_answer` has it see an error.
    error = answer_of(ENIS, body, status if status >= 300 else 400)["Error"]
    assert (caught.value.code, caught.value.message) == (error["Code"], error["Message"] or "")
    assert caught.value.status == (status if status >= 300 else 400)


DTD = b'<!DOCTYPE r [<!ENTITY a "x">]>'
LAUGHS = b"<!DOCTYPE r [<!ENTITY a0 'ha'>%s]>" % b"".join(
    b"<!ENTITY a%d '%s'>" % (number, b"&a%d;" % (number - 1) * 10) for number in range(1, 10)
)
HOSTILE = {
    "nothing": b"",
    "spaces": b" \n",
    "a text": b"down",
    "a page": b"<html><body><p>Sign in</p></body></html>",
    "a page that is no XML": b"<html><body>Sign in<br></body></html>",
    "another operation's": ANSWER.replace(b"NetworkInterfacesR", b"SubnetsR"),
    "a root of another kind": b"<Whatever><return>true</return></Whatever>",
    "an error elsewhere": errors(THROTTLED, root="html"),
    "no errors": errors(),
    "errors without elements": b"<Response><Errors>x</Errors></Response>",
    "an error without a code": errors("<Message>m</Message>"),
    "an error with an empty code": errors("<Code/><Message>m</Message>"),
    "an error of texts": errors("RequestLimitExceeded"),
    "two documents": ANSWER + ANSWER,
    "bytes of no encoding": ANSWER.replace(b"\xc3\xa9", b"\xff\xfe"),
    "zeros": bytes(1000),
    "a document type": DTD + ANSWER[39:],
    "an entity of its own": DTD + ANSWER[39:].replace(b"&amp;", b"&a;"),
    "a billion laughs": LAUGHS + ANSWER[39:].replace(b"&amp;", b"&a9;"),
    "a file": b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    + ANSWER[39:].replace(b"&amp;", b"&a;"),
    "an unknown entity": ANSWER.replace(b"&amp;", b"&a;"),
    "prefixes": ANSWER.replace(b"<tagSet/>", b'<x:tagSet xmlns:x="y"/>'),
    "nested by 10,000": ANSWER.replace(b"<tagSet/>", b"<item>" * 10_000 + b"</item>" * 10_000),
    "nested and without an end": b"<DescribeNetworkInterfacesResponse>" * 10_000,
    "nested one too deeply": b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
}


@pytest.mark.parametrize("status", [200, 204, 302, 400, 500])
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_answer_of_ec2s_is_known_for_it(body: bytes, status: int) -> None:
    with pytest.raises(NotAnAnswerError) as caught:
        read_answer(ENIS, status, body)
    assert caught.value.status == status
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["nested by 10,000", "nested and without an end", "a billion laughs"])
def test_an_attack_costs_no_more_than_the_document_that_it_is_in(name: str) -> None:
    def read() -> None:
        with pytest.raises(NotAnAnswerError):
            read_answer(ENIS, 200, HOSTILE[name])

    # The parser's handlers are calls: of 10,000 elements a few are looked at.
    assert count_work(read) < 1000


def test_a_status_of_an_error_with_an_answer_is_no_answer() -> None:
    with pytest.raises(NotAnAnswerError):
        read_answer(ENIS, 500, ANSWER)


def test_the_whole_document_is_one() -> None:
    assert [each["NetworkInterfaceId"] for each in read_answer(ENIS, 200, ANSWER)["NetworkInterfaces"]] == [
        "eni-1"
    ]


@pytest.mark.parametrize("document", [ANSWER, errors(THROTTLED)], ids=["an answer", "an error"])
def test_a_part_of_a_document_is_no_answer(document: bytes) -> None:
    for length in range(len(document)):
        with pytest.raises(NotAnAnswerError):
            read_answer(ENIS, 200, document[:length])


@given(st.binary(max_size=200))
def test_no_bytes_are_an_answer_by_chance(body: bytes) -> None:
    with pytest.raises(NotAnAnswerError):
        read_answer(ENIS, 200, body)


@given(
    st.integers(0, len(ANSWER)), st.integers(0, 30), st.binary(max_size=30), st.sampled_from([200, 400, 500])
)
def test_of_damaged_answers_only_known_errors_come(start: int, cut: int, put: bytes, status: int) -> None:
    damaged = ANSWER[:start] + put + ANSWER[start + cut :]
    try:
        read = read_answer(ENIS, status, damaged)
    except (NotAnAnswerError, RefusedError):
        return
    assert read["NetworkInterfaces"] == answer_of(ENIS, damaged)["NetworkInterfaces"]


@pytest.mark.parametrize("document", [HOSTILE["nothing"], HOSTILE["a text"], HOSTILE["zeros"]])
def test_what_is_no_xml_is_none_for_botocore_either(document: bytes) -> None:
    with pytest.raises(ResponseParserError):
        answer_of(ENIS, document)
