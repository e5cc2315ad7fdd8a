#!/usr/bin/env bash
# Runs every example unattended, as CI does. Each compares what it served with SQL and fails if anything differs.
set -euo pipefail
cd "$(dirname "$0")/.."
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT

echo "-- storefront"
line=$(npm start --silent -- --seconds 10 --json --free-ports --data-dir "$data/storefront" | tail -n 1)
echo "$line"
node -e '
  const result = JSON.parse(process.argv[1]);
  if (!(result.keysChecked >= 500 && result.mismatches === 0 && result.commits > 0)) {
    console.error("the storefront served something else than SQL says");
    process.exit(1);
  }
' "$line"
