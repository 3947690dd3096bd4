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
