import subprocess

import pytest


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("first", "second"):
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            f"-subj /CN={name} -addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
            f"-keyout {directory}/{name}.key -out {directory}/{name}.crt"
        )
        try:
            subprocess.run(command.split(), check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("openssl is not installed")
    return directory
