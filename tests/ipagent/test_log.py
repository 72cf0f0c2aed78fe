"""Log lines."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_settings import LogFormat, LogLevel
from ipagent.log import Log, printable

pytestmark = pytest.mark.pure


def written(level: LogLevel = LogLevel.INFO, form: LogFormat = LogFormat.AUTO, **fields: str) -> list[str]:
    stream = io.StringIO()
    log = Log("apps", "pod-1", level, form, stream=stream)
    log.debug("d", message="fine")
    log.info("i", message="ok", **fields)
    log.warning("w", message="hm")
    log.error("e", message="no")
    return stream.getvalue().splitlines()


def test_json_lines_say_when_what_for_whom() -> None:
    line = json.loads(written(address="10.10.1.80", eni="eni-1")[0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "event": "i",
        "namespace": "apps",
        "pod": "pod-1",
        "address": "10.10.1.80",
        "eni": "eni-1",
        "message": "ok",
    }


def test_fields_that_mean_nothing_are_left_out() -> None:
    assert "eni" not in json.loads(written(address="10.10.1.80", eni="")[0])


@pytest.mark.parametrize(("level", "lines"), list(zip(LogLevel, (4, 3, 2, 1), strict=True)))
def test_the_level_holds_back_what_is_less_important(level: LogLevel, lines: int) -> None:
    assert len(written(level)) == lines


def test_text_is_for_people() -> None:
    line = written(form=LogFormat.TEXT, eni="eni-1")[0]
    assert re.fullmatch(r"\S+Z INFO    i: ok eni=eni-1", line)


def test_auto_is_text_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    Log(stream=stream).info("i", message="ok")
    assert not stream.getvalue().startswith("{")


@given(st.text(), st.sampled_from([LogFormat.JSON, LogFormat.TEXT]))
def test_one_event_is_one_line_whatever_it_says(text: str, form: LogFormat) -> None:
    stream = io.StringIO()
    Log("apps", "pod-1", form=form, stream=stream).info("i", message=text)
    assert stream.getvalue().count("\n") == 1
    if form is LogFormat.JSON:
        assert json.loads(stream.getvalue())["message"] == text


@given(st.text())
def test_texts_of_others_bring_no_control_characters(text: str) -> None:
    assert printable(text).isprintable()


def test_a_log_that_nobody_takes_ends_nothing() -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    Log(stream=Broken()).error("e", message="no")
