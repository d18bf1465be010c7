#!/usr/bin/env bash
# Runs a CronJob now, waits until it is complete or has failed, and prints its log.
#
#   deploy/job.sh CRONJOB [NAMESPACE]
#
# The namespace is ebb-ai unless another one is named. It waits for an hour at most, and ends with 1 if the Job has not
# completed: `kubectl wait` alone would wait for a Job that has failed, too.
set -euo pipefail

cronjob=${1:?the name of a CronJob, such as model-stage}
namespace=${2:-ebb-ai}
# A name has 63 characters at most, and that of a CronJob 52.
name=$cronjob-$(date +%j%H%M%S)
deadline=$((SECONDS + 3600))

has() {
    local status
    status=$(kubectl --namespace "$namespace" get job "$name" \
        --output jsonpath="{.status.conditions[?(@.type==\"$1\")].status}")
    [ "$status" = True ]
}

# Nobody owns it: of its own Jobs that are complete, a CronJob keeps the newest, and would delete this one before it is seen.
kubectl --namespace "$namespace" create job "$name" --from="cronjob/$cronjob" --dry-run=client --output=yaml |
    kubectl patch --local --filename=- --type=merge --output=yaml --patch='{"metadata": {"ownerReferences": null}}' |
    kubectl --namespace "$namespace" create --filename=-
until has Complete; do
    if has Failed || ((SECONDS >= deadline)); then
        kubectl --namespace "$namespace" logs --selector "job-name=$name" --tail=-1 --prefix || true
        echo "job $name did not complete" >&2
        exit 1
    fi
    sleep 1
done
# Others may have failed before the one that has done it.
pod=$(kubectl --namespace "$namespace" get pods --selector "job-name=$name" \
    --field-selector status.phase=Succeeded --output jsonpath='{.items[0].metadata.name}')
kubectl --namespace "$namespace" logs "$pod"
