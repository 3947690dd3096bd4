import pytest
from custom_components.errors import InputError
from custom_components.workflows.settings import check_settings, plain


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


def test_other_objects_become_text() -> None:
    assert plain({1: (True, None, {"a": range(2)})}) == {"1": [True, None, {"a": "range(0, 2)"}]}
