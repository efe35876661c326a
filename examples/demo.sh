#!/bin/sh
# Builds an example as a user's project is built: copied into a fresh git repository with a tag, locked, built, verified.
#
#   sh examples/demo.sh [orders|hello] [FOLDER]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
name=${1:-orders}
folder=${2:-$(mktemp -d)}
project=$folder/$name

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() { say "$*"; "$@"; }

if [ -e "$project" ]; then
    echo "error: $project is there already; name another folder" >&2
    exit 2
fi
mkdir -p "$project"
cp -R "$here/$name/." "$project"
rm -f "$project"/pylock*.toml "$project/debs.lock.toml"
cd "$project"
commit() {
    git add -A
    git -c user.name='Demo' -c user.email='demo@example.org' -c commit.gpgsign=false commit -q -m "$1"
}
git init -q -b main
run release lock
commit "$name, locked"
git tag v1.4.0
printf '\nThe second commit.\n' >>README.md
commit 'README: say that there is a second commit'

run release build
release=$(find dist -mindepth 1 -maxdepth 1 -type d -name "$name-*")
run release verify "$release"
printf '\nThe release is in %s\nNext: docs/how-to/install-offline.md installs it on a host without internet.\n' "$project/$release"
