#!/bin/sh
# Builds an example as a user's project is built: copied into a fresh git repository with a tag, locked, built, verified.
#
#   sh examples/demo.sh [orders|hello] [FOLDER]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
name=${1:-orders}
folder=${2:-$(mktemp -d)}
project=$folder/$name

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n$ %s\n' "$*"; }
run() { say "$*"; "$@"; }

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
printf '\nThe release is in %s\n' "$project/$release"
