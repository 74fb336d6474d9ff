#!/usr/bin/env bash
# Put the built book into the published branch, as the workflow `publish` does.
#   tools/publish.sh                       as the current course
#   tools/publish.sh --term 2026-autumn    as a term that is kept
# PYTHON picks the interpreter; it needs PyYAML and nothing else.
#
# Nothing is forced: if another run was faster, the push is refused, and the book is placed again into what that run
# left. So the branch keeps its history, and a term published by mistake can be taken back.
set -euo pipefail
cd "$(dirname "$0")/.."

branch=gh-pages
commit="$(git rev-parse --short HEAD)"
site="$(mktemp -d)"
trap 'rm -rf "$site"; git worktree prune' EXIT

for attempt in 1 2 3 4 5; do
    rm -rf "$site"
    git worktree prune
    if git fetch --quiet --depth 1 origin "$branch"; then
        start=FETCH_HEAD
    else # no such branch yet; if the fetch failed for another reason, the push below is refused
        start="$(git commit-tree -m "An empty site" "$(git mktree </dev/null)")"
    fi
    git worktree add --quiet --detach "$site" "$start"
    "${PYTHON:-python}" -m tools.publish "$site" "$@"
    git -C "$site" add --all
    if git -C "$site" diff --cached --quiet; then
        echo "Nothing has changed."
        exit 0
    fi
    git -C "$site" commit --quiet --message "The book of $commit${2:+, as $2}"
    if git -C "$site" push --quiet origin "HEAD:refs/heads/$branch"; then
        exit 0
    fi
    echo "Attempt $attempt was refused." >&2
    sleep "$((attempt * 5))"
done
exit 1
