from pathlib import Path

import msgspec
import pytest

from orrery.errors import Invalid
from orrery.settings import Limits, Settings, described, limits_with, load, markdown

ROOT = Path(__file__).parents[1]


def from_file(tmp_path, text):
    file = tmp_path / "orrery.toml"
    file.write_text(text)
    return load(file=file)


def test_defaults():
    assert load() == Settings()


def test_flag_wins_over_environment_wins_over_file(tmp_path):
    file = tmp_path / "orrery.toml"
    file.write_text('http = "a:1"\ndata_dir = "from-file"\nlog_level = "error"\n')
    loaded = load(
        file=file,
        environment={"ORRERY_HTTP": "b:2", "ORRERY_DATA_DIR": "from-environment", "PATH": "x"},
        flags={"http": "c:3"},
    )
    assert (loaded.http, loaded.data_dir, loaded.log_level) == (
        "c:3",
        "from-environment",
        "error",
    )


def test_limits_have_a_table(tmp_path):
    loaded = from_file(tmp_path, "[limits]\nactive_series = 5\nquery_seconds = 1.5\n")
    assert loaded.limits == Limits(active_series=5, query_seconds=1.5)


@pytest.mark.parametrize(
    ("environment", "name", "value"),
    [
        ({"ORRERY_LIMITS_ACTIVE_SERIES": "5"}, "limits.active_series", 5),
        ({"ORRERY_AUTH_NONE_FORCED": "true"}, "auth_none_forced", True),
        ({"ORRERY_HTTP_SLOW_SECONDS": "0.5"}, "http_slow_seconds", 0.5),
        ({"ORRERY_HTTP_ALLOW_HOST": "a.example, b.example"}, "http_allow_host", None),
    ],
)
def test_environment_is_text(environment, name, value):
    loaded = load(environment=environment)
    holder = loaded.limits if name.startswith("limits.") else loaded
    found = getattr(holder, name.removeprefix("limits."))
    assert found == (("a.example", "b.example") if value is None else value)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('htpp = "a:1"', "did you mean 'http'"),
        ("[limits]\nactive_serie = 1", "did you mean 'limits.active_series'"),
        ("zzz = 1", "'zzz' from .*: there is no such setting$"),
        ("http_threads = 0", "http_threads.*>= 1"),
        ('http_threads = "2"', "http_threads.*Expected `int`"),
        ('auth = "basic"', "auth"),
        ('http_allow_host = "a.example"', "http_allow_host"),
        ("http_threads = ", "orrery.toml"),
        ("limits = 3", "not a table"),
        ('tls_key_file = "x"', "given together"),
        ("graphite_tls = true", "graphite_tls needs tls_certificate_file"),
        ("[http]\nx = 1", "http"),
    ],
)
def test_file_refused(tmp_path, text, cause):
    with pytest.raises(Invalid, match=cause):
        from_file(tmp_path, text)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(Invalid, match="cannot read settings"):
        load(file=tmp_path / "absent.toml")


def test_unknown_variable_is_named():
    with pytest.raises(Invalid, match=r"'ORRERY_HTPP'.*did you mean 'ORRERY_HTTP'"):
        load(environment={"ORRERY_HTPP": "x"})


def test_limits_with_overrides():
    assert limits_with(Limits(), {"label_count": 3}) == Limits(label_count=3)
    with pytest.raises(Invalid, match="did you mean 'label_count'"):
        limits_with(Limits(), {"label_counts": 3})


def test_every_setting_is_described_and_valid_by_default():
    assert msgspec.convert(msgspec.to_builtins(Settings()), Settings) == Settings()
    for setting in described():
        assert setting.description, setting.name


def test_numbers_carry_their_unit_in_the_name():
    units = (
        "bytes",
        "days",
        "seconds",
        "threads",
        "max",
        "min",
        "series",
        "samples",
        "count",
        "day",
    )
    for setting in described():
        if setting.type in (int, float):
            words = setting.name.split(".")[-1].split("_")
            assert set(words) & set(units), setting.name


def test_documentation_is_what_the_struct_says():
    document = (ROOT / "docs" / "configuration.md").read_text()
    assert document.endswith(markdown()), "run: orrery settings, and paste it"


def test_example_file_loads():
    load(file=ROOT / "packaging" / "orrery.toml")
