#!/bin/sh
# Brings this version to a cluster, and goes back to the one before when it does not get well. Kubernetes only reports that.
#
#   sh deploy.sh OVERLAY [ACCEPTANCE...]
#
# OVERLAY is a folder such as overlays/staging. ACCEPTANCE is a command that uses the service as its users do; the version stays when it
# ends with 0. KUBECTL_CONTEXT names the cluster, when it is not the present one; TIMEOUT is in seconds (300).
# Exit codes: 0 done; 1 failed, what ran before runs; 2 usage; 7 failed, and nobody knows what runs.
set -eu

name=@name@
job=@job@
timeout=${TIMEOUT:-300}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

fail() {
    echo "error: $2" >&2
    exit "$1"
}

[ $# -ge 1 ] || fail 2 "usage: sh deploy.sh OVERLAY [ACCEPTANCE...]"
overlay=$1
shift
[ -r "$overlay/kustomization.yaml" ] || overlay=$here/$overlay
[ -r "$overlay/kustomization.yaml" ] || fail 2 "$overlay is no folder of kustomize"
namespace=$(sed -n 's/^namespace: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$overlay/kustomization.yaml")

kube() {
    kubectl ${KUBECTL_CONTEXT:+--context "$KUBECTL_CONTEXT"} ${namespace:+--namespace "$namespace"} "$@"
}

apply() {
    kube apply --kustomize "$overlay" --selector "app.kubernetes.io/component$1"
}

# The conditions of the migration that hold: Complete, Failed or nothing yet.
migration() {
    kube get job "$job" --ignore-not-found --output 'jsonpath={range .status.conditions[?(@@.status=="True")]}{.type}{" "}{end}'
}

# What runs is counted by Deployments: it is what rollout undo goes back to.
revision() {
    kube get deployment "$name" --ignore-not-found --output 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}'
}

migrate() {
    case $(migration) in
        *Complete*) return ;; # of this very version: what is done once is done
        *Failed*) kube delete job "$job" --wait ;;
    esac
    apply '=migration'
    end=$(($(date +%s) + timeout))
    while :; do
        case $(migration) in
            *Complete*) return ;;
            *Failed*)
                kube logs "job/$job" --tail=50 >&2 || true
                fail 1 "the migration failed; what ran before still runs"
                ;;
        esac
        [ "$(date +%s)" -lt "$end" ] || fail 1 "the migration took more than $timeout s; what ran before still runs"
        sleep 1
    done
}

back() {
    echo "error: $1" >&2
    kube logs "deployment/$name" --tail=20 >&2 || true
    now=$(revision) || fail 7 "the cluster does not answer: nobody knows what runs"
    if [ -z "$before" ]; then
        kube scale "deployment/$name" --replicas=0 || fail 7 "$name could not be stopped"
        fail 1 "there is no version before it: it was stopped"
    fi
    [ "$now" != "$before" ] || fail 1 "the version is the one that ran before: there is nothing to go back to"
    kube rollout undo "deployment/$name" --to-revision="$before" || fail 7 "rollout undo failed: nobody knows what runs"
    kube rollout status "deployment/$name" --timeout="${timeout}s" || fail 7 "the version before does not get well either"
    fail 1 "the version before runs again"
}

apply ' notin (application,migration)'
@migrate@
before=$(revision)
apply '=application'
kube rollout status "deployment/$name" --timeout="${timeout}s" || back "$name @version@ did not get well within $timeout s"
if [ $# -gt 0 ]; then
    "$@" || back "the acceptance said no: $*"
fi
echo "$name @version@ runs"
