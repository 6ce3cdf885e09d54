from __future__ import annotations

import pytest
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import InvalidArgument
from serving.server import config
from serving.server.policies import All, Latest, Specific


def model(**fields):
    fields = {"name": "m", "base_path": "/m", "model_platform": "tensorflow", **fields}
    return model_server_config_pb2.ModelConfig(**fields)


def listed(*models):
    message = model_server_config_pb2.ModelServerConfig()
    message.model_config_list.SetInParent()
    message.model_config_list.config.extend(models)
    return message


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {5}),
        ("latest {}", {5}),
        ("latest { num_versions: 2 }", {3, 5}),
        ("latest { num_versions: 0 }", {5}),
        ("all {}", {1, 3, 5}),
        ("specific { versions: 1 versions: 4 }", {1}),
        ("specific {}", set()),
    ],
)
def test_version_policies(tmp_path, policy, expected):
    file = tmp_path / "models.config"
    file.write_text(
        f"""model_config_list {{ config {{ name: "m" base_path: "{tmp_path}" model_platform: "tensorflow"
            model_version_policy {{ {policy} }} }} }}"""
    )
    (served,) = config.from_file(file)
    assert served.policy.wanted([1, 3, 5]) == expected
    assert served.policy.wanted([]) == set()


def test_only_a_specific_policy_misses_versions():
    assert Specific(frozenset({1, 4})).absent([1, 3]) == {4}
    assert Latest(3).absent([1]) == All().absent([]) == set()


def test_text_may_have_colons_and_commas(tmp_path):
    (tmp_path / "models.config").write_text(
        """model_config_list: { config: { name: "a", base_path: "/a", model_platform: "tensorflow", },
           config { name: 'b' base_path: '/b' model_platform: 'tensorflow'
                    version_labels { key: 'stable' value: 3 } version_labels { key: 'canary', value: 4 } } }"""
    )
    a, b = config.from_file(tmp_path / "models.config")
    assert (a.name, a.labels) == ("a", {})
    assert (b.name, b.labels) == ("b", {"stable": 3, "canary": 4})


NO_PLATFORM = (
    "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (listed(model(), model()), "Illegal to list model m multiple times in config list"),
        (listed(model(base_path="m")), "Expected model m to have an absolute path or URI; got base_path()=m"),
        (listed(model(base_path="")), "Expected model m to have an absolute path or URI; got base_path()="),
        (listed(model(base_path="gs://bucket/m")), "must be a folder of this machine"),
        (listed(model(model_platform="other")), "Model m requests unsupported platform other"),
        (listed(model(model_platform="")), NO_PLATFORM),
        (listed(model(model_type="TENSORFLOW")), "Illegal setting both ModelServerConfig::model_type"),
        (listed(model(model_platform="", model_type="OTHER")), "model_type choice 2 not supported"),
        (listed(model(logging_config={})), "No request-logger-creator provided."),
        (model_server_config_pb2.ModelServerConfig(custom_model_config={}), "Missing custom_model_config_loader"),
    ],
)
def test_wrong_configs_are_refused(message, text):
    with pytest.raises(InvalidArgument) as error:
        config.from_proto(message)
    assert text in error.value.message


def test_the_deprecated_type_is_a_platform_too():
    (served,) = config.from_proto(listed(model(model_platform="", model_type="TENSORFLOW")))
    assert served.name == "m"


def test_a_model_keeps_its_platform(tmp_path):
    served = [config.ModelConfig("m", tmp_path)]
    with pytest.raises(InvalidArgument) as error:
        config.from_proto(listed(model(model_platform="other")), served)
    assert error.value.message == (
        "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is other"
    )


def test_file_uris_are_folders():
    (served,) = config.from_proto(listed(model(base_path="file:///srv/my%20models/m")))
    assert str(served.base_path) == "/srv/my models/m"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"model_config_list { config { nme: 3 } }", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        (b"\xff\xfe", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        (None, "Cannot read the file"),
    ],
)
def test_unreadable_config_files_are_told(tmp_path, text, message):
    if text is not None:
        (tmp_path / "models.config").write_bytes(text)
    with pytest.raises(InvalidArgument, match=message):
        config.from_file(tmp_path / "models.config")


def test_a_config_without_models_serves_nothing(tmp_path):
    (tmp_path / "models.config").write_text("")
    assert config.from_file(tmp_path / "models.config") == []
