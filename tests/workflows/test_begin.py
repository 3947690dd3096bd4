import logging
import sys
from collections.abc import Iterator

import pytest
from custom_components.errors import InputError
from custom_components.workflows.begin import report_errors_plainly


@pytest.fixture
def _reporting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    report_errors_plainly()


def report(error: BaseException) -> None:
    sys.excepthook(type(error), error, None)


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (InputError("fold must be 0"), "error: fold must be 0"),
        (
            FileNotFoundError(2, "No such file or directory", "/clinic/Smith_John/scan.nii"),
            "error: scan.nii: No such file or directory",
        ),
        (MemoryError(), "error: memory must suffice, got MemoryError; lower batch_size"),
    ],
    ids=["input", "system", "memory"],
)
@pytest.mark.usefixtures("_reporting")
def test_error_that_tells_its_cause_is_one_line(
    cause: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("Failed to evaluate the configuration")
    error.__cause__ = cause
    report(error)
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.usefixtures("_reporting")
def test_ctrl_c_is_one_word_and_a_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        report(KeyboardInterrupt())
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.usefixtures("_reporting")
def test_our_own_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    report(ZeroDivisionError("division by zero"))
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err
