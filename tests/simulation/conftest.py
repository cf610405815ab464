"""Which seed to run."""

import os


def pytest_addoption(parser):
    parser.addoption(
        "--simulation-seed",
        type=int,
        default=os.environ.get("SIMULATION_SEED"),
        help="run this seed of the simulation alone",
    )


def pytest_generate_tests(metafunc):
    if "sampled_seed" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--simulation-seed")
        seeds = range(8) if chosen is None else [int(chosen)]
        metafunc.parametrize("sampled_seed", seeds)
