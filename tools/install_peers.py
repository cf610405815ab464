"""Unpack the original products beside Orrery, from Debian packages, for tests/compat and bench;
and clients that npm has.

Called by `make peers`. Nothing is installed into the system: packages are fetched by apt from the
machine's own Debian mirror and unpacked below ``build/peers/<suite>``. Versions of the unstable
suite are pinned; where the mirror no longer has a pinned one, the candidate is taken and said.

Prometheus' translation of OTLP, which Debian's package lacks, is built from its sources where there
is a Go toolchain (tools/otlp_oracle).
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent / "build" / "peers"
SOURCE_FILES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


@dataclass(frozen=True, slots=True)
class Peer:
    suite: str
    package: str
    version: str | None = None


PEERS = (
    Peer("bookworm", "prometheus"),
    Peer("bookworm", "prometheus-node-exporter"),
    Peer("bookworm", "influxdb"),
    Peer("bookworm", "influxdb-client"),
    Peer("bookworm", "victoria-metrics"),
    Peer("bookworm", "carbon-c-relay"),
    Peer("bookworm", "collectd-core"),
    Peer("sid", "prometheus", "3.5.3+ds1-6"),
    Peer("sid", "victoria-metrics", "1.145.0+ds1-2"),
)

NPM_PACKAGES = ("@senx/warp10@2.0.3",)


def install_npm_packages() -> int:
    """How many could not be had; without npm none is wanted."""
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not there: clients for node are left out")
        return 0
    folder = ROOT / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder)]
    done = subprocess.run([*command, *NPM_PACKAGES], check=False)
    return 0 if done.returncode == 0 else len(NPM_PACKAGES)


def mirror() -> str:
    """The mirror this machine's apt uses for Debian itself."""
    for path in SOURCE_FILES:
        if path.exists():
            text = path.read_text()
            found = re.search(r"(?:URIs:|^deb(?: \[.*\])?)\s*(https?://\S*debian/?)\s", text, re.M)
            if found:
                return found.group(1)
    sys.exit("cannot find the Debian mirror: no entry in " + " or ".join(map(str, SOURCE_FILES)))


def apt_options(suite: str) -> list[str]:
    state = ROOT / suite / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    sources = state / "sources.list"
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources.write_text(f"deb [signed-by={keyring}] {mirror()} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "root",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def candidate(options: list[str], package: str) -> str:
    policy = subprocess.run(
        ["apt-cache", *options, "policy", package], capture_output=True, text=True, check=True
    )
    found = re.search(r"Candidate: (\S+)", policy.stdout)
    return found.group(1) if found else ""


def unpack(peer: Peer, options: list[str]) -> None:
    target = ROOT / peer.suite
    offered = candidate(options, peer.package)
    if peer.version and offered != peer.version:
        print(f"  {peer.package}: pinned {peer.version}, the mirror offers {offered}")
    stamp = target / "unpacked" / f"{peer.package}_{offered}"
    if stamp.exists():
        return
    folder = target / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["apt-get", "-qq", *options, "download", f"{peer.package}={offered}"],
        cwd=folder,
        check=True,
    )
    for archive in folder.glob(f"{peer.package}_*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)
        archive.unlink()
    stamp.parent.mkdir(exist_ok=True)
    stamp.touch()


ORACLE = Path(__file__).parent / "otlp_oracle"
ORACLE_PARTS = (
    "model",
    "promql/parser/posrange",
    "prompb",
    "storage/remote/otlptranslator",
    "util/annotations",
)
"""Of Prometheus' sources: what its translation of OTLP is made of."""


def build_oracle() -> None:
    """Its package ``config`` would bring in the SDK of every cloud: one struct stands in for it."""
    target = ROOT / "go"
    program = target / "usr" / "bin" / "otlp-oracle"
    if program.exists():
        return
    go_mod = (ORACLE / "go.mod").read_text()
    found = re.search(r"github.com/prometheus/prometheus (v\S+)", go_mod)
    if found is None:
        sys.exit("cannot build the OTLP oracle: its go.mod names no Prometheus")
    module = f"github.com/prometheus/prometheus@{found.group(1)}"
    told = subprocess.run(
        ["go", "mod", "download", "-json", module], capture_output=True, text=True, check=True
    )
    sources = Path(json.loads(told.stdout)["Dir"])
    copied = target / "prometheus"
    shutil.rmtree(copied, ignore_errors=True)
    for part in ORACLE_PARTS:
        shutil.copytree(sources / part, copied / part, copy_function=shutil.copyfile)
        for folder in (copied / part, *(copied / part).rglob("*/")):
            folder.chmod(0o755)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(sources / name, copied / name)
    (copied / "config").mkdir()
    shutil.copyfile(ORACLE / "config.go.stub", copied / "config" / "config.go")
    # Its go.mod looks for them beside it.
    shutil.copytree(ORACLE, target / "oracle", dirs_exist_ok=True)
    program.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["go", "build", "-ldflags", "-s -w", "-o", str(program), "."],
        cwd=target / "oracle",
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    failures = 0
    for suite in dict.fromkeys(peer.suite for peer in PEERS):
        options = apt_options(suite)
        print(f"{suite}: reading package lists", flush=True)
        subprocess.run(["apt-get", "-qq", *options, "update"], check=False)
        for peer in (peer for peer in PEERS if peer.suite == suite):
            print(f"{suite}: {peer.package}", flush=True)
            try:
                unpack(peer, options)
            except (subprocess.CalledProcessError, OSError) as error:
                failures += 1
                print(f"  cannot unpack {peer.package}: {error}")
    failures += install_npm_packages()
    if shutil.which("go"):
        print("go: building Prometheus' translation of OTLP", flush=True)
        try:
            build_oracle()
        except (subprocess.CalledProcessError, OSError) as error:
            failures += 1
            print(f"  cannot build it: {error}")
    print(f"peers are in {ROOT}" + (f"; {failures} could not be had" if failures else ""))


if __name__ == "__main__":
    main()
