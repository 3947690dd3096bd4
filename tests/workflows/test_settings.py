import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.workflows.settings import check_settings, plain, stated_values
from monai.bundle import ConfigParser


def test_setting_that_nothing_uses_is_refused_with_the_nearest_name() -> None:
    config = {
        "max_epochs": 1,
        "batch_size": 4,
        "train": {"trainer": {"epochs": "@max_epochs", "n": "$@batch_size * 2"}},
    }
    check_settings(config)
    with pytest.raises(InputError, match=r"setting batchsize must be one .*did you mean batch_size\?"):
        check_settings({**config, "batchsize": 8})
    with pytest.raises(InputError, match=r"setting zzz must be one .*known are batch_size, max_epochs"):
        check_settings({**config, "zzz": 8})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("learning_rate", -1, "a number, 0 or more, got -1"),
        ("weight_decay", float("nan"), "a number, 0 or more, got nan"),
        ("learning_rate", "1e-3", "a number, 0 or more, got '1e-3'"),
        ("seed", 1.5, "a whole number, 0 or more, got 1.5"),
        ("seed", True, "a whole number, 0 or more, got True"), ("val_interval", 0, "a whole number, 1 or more, got 0"),
        ("batch_size", "x", "a whole number, got 'x'"), ("keep_labels", [1], r"a number, got \[1\]"),
        ("temperature", float("inf"), "a number, got inf"), ("max_rotation", None, "a number, got None"),
    ],
)  # fmt: skip
def test_a_setting_that_must_be_a_number_is_one(name: str, value: object, rule: str) -> None:
    used = {"run": f"@{name}"}
    with pytest.raises(InputError, match=f"^{name} must be {rule}; correct it$"):
        check_settings({name: value, **used})
    for good in (2, np.int64(2), 10**400, "$8 * 2", "@other", "%other"):
        check_settings({name: good, **used})


def test_stated_values_are_plain_and_have_no_paths() -> None:
    config = {
        "batch": "$4 + 4",
        "rate": "@batch",
        "subjects": {"ankle": 3},
        "data": ["scans/a.nii"],
        "device": "cpu",
        "network": "$object()",
        "run": "$1",
        "loss": {"_target_": "a.Loss", "w": 0.5, "head": "@rate", "data": "/x/y", "steps": [1, 2]},
        "train": {"transforms": [{"_target_": "b.Flip", "p": 0.1, "q": "$1"}]},
        "other": {"_target_": "c.Other", "lr": 1},
    }
    parts = ["loss", "train#transforms", "absent"]
    found = stated_values(ConfigParser(config), parts=parts, leave_out=["device", "loss#steps"])
    assert found == {
        **{"batch": 8, "rate": 8, "subjects": {"ankle": 3}, "loss#_target_": "a.Loss", "loss#w": 0.5},
        **{"train#transforms#0#_target_": "b.Flip", "train#transforms#0#p": 0.1},
    }


def test_other_objects_become_text() -> None:
    assert plain({1: (True, None, {"a": range(2)})}) == {"1": [True, None, {"a": "range(0, 2)"}]}
