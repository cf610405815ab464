"""InfluxDB's own clients write to Orrery; PromQL reads it back."""

import subprocess

import pytest

from .conftest import Programs, Server, peer

pytestmark = [pytest.mark.compat, pytest.mark.timeout(120)]


def value_of(orrery: Server, query: str) -> str:
    result = orrery.api("query", query=query)["data"]["result"]
    assert len(result) == 1, result
    return str(result[0]["value"][1])


def test_the_influx_command_line_inserts(programs: Programs) -> None:
    influx = peer("bookworm", "influx")
    orrery = programs.orrery()
    done = subprocess.run(
        [
            influx,
            "-host",
            "127.0.0.1",
            "-port",
            str(orrery.port),
            "-database",
            "metrics",
            "-execute",
            "INSERT weather,city=Roubaix temperature=21.5,rain=true,drops=7i",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert value_of(orrery, 'weather_temperature{city="Roubaix"}') == "21.5"
    assert value_of(orrery, "weather_drops") == "7"
    assert value_of(orrery, "weather_rain") == "1"


def test_the_version_1_python_client_writes(programs: Programs) -> None:
    influxdb = pytest.importorskip("influxdb")
    orrery = programs.orrery()
    client = influxdb.InfluxDBClient("127.0.0.1", orrery.port, database="metrics")
    assert client.ping()
    points = [{"measurement": "pressure", "tags": {"site": "b"}, "fields": {"value": 1013.25}}]
    assert client.write_points(points)
    assert value_of(orrery, 'pressure{site="b"}') == "1013.25"
    with pytest.raises(influxdb.exceptions.InfluxDBClientError, match="partial write"):
        client.write(["good value=1", "bad value="], params={"db": "metrics"}, protocol="line")
    assert value_of(orrery, "good") == "1"


def test_the_version_2_python_client_writes(programs: Programs) -> None:
    client_module = pytest.importorskip("influxdb_client")
    from influxdb_client.client.write_api import SYNCHRONOUS
    from influxdb_client.rest import ApiException

    orrery = programs.orrery()
    with client_module.InfluxDBClient(url=orrery.url, token="any", org="o") as client:
        assert client.ping()
        write = client.write_api(write_options=SYNCHRONOUS)
        point = client_module.Point("speed").tag("road", "A1").field("mean", 88)
        write.write(bucket="metrics", record=point)
        assert value_of(orrery, 'speed_mean{road="A1"}') == "88"
        with pytest.raises(ApiException) as refused:
            write.write(bucket="metrics", record="bad mean=")
        assert refused.value.status == 400
