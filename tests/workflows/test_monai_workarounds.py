"""Each workaround against the behaviour of MONAI that it is for."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from custom_components.errors import InputError
from custom_components.workflows.monai_workarounds import (
    OWN_FOLDER,
    active_config,
    as_list,
    find_mlflow_handlers,
    hide_engine_errors,
    hide_missing_log_file,
    hide_settings,
    name_empty_run,
    raise_own_errors,
)
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser, ConfigWorkflow


def write(folder: Path, text: str) -> str:
    (folder / "configs").mkdir()
    (folder / "configs" / "train.yaml").write_text(text)
    return str(folder / "configs" / "train.yaml")


def test_a_component_sees_the_configuration_that_makes_it() -> None:
    component = {"_target_": "custom_components.workflows.monai_workarounds.active_config"}
    parser = ConfigParser({"rate": 0.5, "seen": component})
    assert parser.get_parsed_content("seen") == {"rate": 0.5, "seen": component}
    assert active_config() == {}


def test_three_words_of_the_command_line_are_values(tmp_path: Path) -> None:
    """`--number null --shown false --nested {a: true}`, as fire reads them."""
    text = "number: 1\nshown: true\nnested: {a: false, b: [0]}\nname: nullable\n"
    text += "initialize: [{_target_: custom_components.workflows.monai_workarounds.read_yaml_words}]\n"
    text += "run: ['$(@number, @shown, @nested, @name)']\n"
    given = {"number": "null", "shown": "false", "nested": {"a": "true", "b": ["null"]}}
    workflow = ConfigWorkflow(write(tmp_path, text), workflow_type="train", logging_file=False, **given)
    workflow.initialize()
    assert workflow.run() == [(None, False, {"a": True, "b": [None]}, "nullable")]
    assert workflow.parser.get("nested") == {"a": True, "b": [None]}


def test_an_empty_run_id_becomes_run(tmp_path: Path) -> None:
    path = write(tmp_path, "initialize: []\nrun: [$1]\nother: $1 / 0\n")
    workflow = ConfigWorkflow(path, workflow_type="train", logging_file=False, run_id="")

    def called_by(self: ConfigWorkflow) -> None:
        name_empty_run()

    called_by(workflow)
    assert workflow.run_id == "run"


def test_a_bundle_finds_its_own_folder(tmp_path: Path) -> None:
    path = write(tmp_path, f"imports: [$import inspect]\nbundle_root: {OWN_FOLDER!r}\ninitialize: []\nrun: []\n")
    workflow = ConfigWorkflow(path, workflow_type="train", logging_file=False)
    workflow.initialize()
    assert workflow.bundle_root == str(tmp_path.resolve())


def test_our_own_error_comes_out_unwrapped() -> None:
    parser = ConfigParser({"run": "$(_ for _ in ()).throw(@error)", "error": InputError("fold must be 0, got 1")})
    with pytest.raises(InputError, match="fold must be 0") as caught, raise_own_errors():
        parser.get_parsed_content("run")
    assert caught.value.__cause__ is None
    with pytest.raises(RuntimeError), raise_own_errors():
        ConfigParser({"run": "$1 / 0"}).get_parsed_content("run")


@pytest.mark.parametrize("name", ["SupervisedTrainer", "SupervisedEvaluator", "VolumeEvaluator"])
def test_engines_do_not_log_the_error_that_they_raise(name: str, caplog: pytest.LogCaptureFixture) -> None:
    hide_engine_errors()
    logger = logging.getLogger(f"ignite.engine.engine.{name}")
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, logger="ignite"):
        logger.error("Engine run is terminating due to exception: /clinic/Smith_John")
        logger.info("Epoch[1] Complete")
    assert [record.getMessage() for record in caplog.records] == ["Epoch[1] Complete"]


def test_a_missing_log_file_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hide_missing_log_file()
    with caplog.at_level(logging.WARNING):
        ConfigWorkflow(write(tmp_path, "run: []\n"), workflow_type="train", logging_file=False)
    assert "logging" not in caplog.text


def test_settings_are_not_logged() -> None:
    logger = logging.getLogger("monai.bundle.scripts")
    logger.setLevel(logging.INFO)
    hide_settings()
    assert not logger.isEnabledFor(logging.INFO)


def test_the_output_of_an_iteration_becomes_a_list_once() -> None:
    engine = SimpleNamespace(state=SimpleNamespace(output={"loss": 1.0}))
    for _ in range(2):
        as_list(engine)
        assert engine.state.output == [{"loss": 1.0}]


def test_an_engine_without_tracking_has_no_mlflow_handler() -> None:
    engine = Engine(lambda *_: None)
    engine.add_event_handler(Events.STARTED, print)
    assert find_mlflow_handlers(engine) == []
