#!/usr/bin/env bash
# Installs the newest wheel of dist/ into a fresh environment, starts it, writes a point, reads it.
set -eu
python=${1:-python3.11}
wheel=$(ls -t dist/*.whl | head -n 1)
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "$wheel"
"$folder/venv/bin/orrery" version
cd "$folder"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/orrery" serve --data-dir "$folder/data" --http "127.0.0.1:$port" >"$folder/output" 2>&1 &
server=$!
check() {
    "$python" - "$port" <<'PROGRAM'
import json, sys, time, urllib.request

url = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(100):
    try:
        urllib.request.urlopen(f"{url}/-/ready")
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("the installed server was not ready in 10 s")
line = urllib.request.Request(f"{url}/write?db=metrics", b"wheel value=1\n", method="POST")
assert urllib.request.urlopen(line).status == 204
answer = json.load(urllib.request.urlopen(f"{url}/api/v1/query?query=wheel"))
assert answer["data"]["result"][0]["value"][1] == "1", answer
print("the installed wheel starts, writes and reads")
PROGRAM
}
check || { cat "$folder/output"; exit 1; }
kill -TERM "$server"
wait "$server"
