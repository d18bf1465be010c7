#!/usr/bin/env bash
# Copies the directory of a model to /models/incoming on the volume, from where `model-stage` stages it.
#
#   deploy/incoming.sh DIRECTORY [NAMESPACE]
#
# Only `model-stage` may write to the volume, so a Job made of it takes the files.
set -euo pipefail

directory=$(realpath "${1:?the directory of a model}")
namespace=${2:-ebb-ai}
if [[ $namespace == */* ]]; then
    echo "$namespace is a second directory; name one" >&2
    exit 1
fi
ai() { kubectl --namespace "$namespace" "$@"; }

# With its pod: another one of that name is looked for by its label.
remove() { ai delete job incoming --ignore-not-found --cascade=foreground >/dev/null; }
trap remove EXIT
remove
ai create job incoming --from=cronjob/model-stage --dry-run=client --output=yaml |
    kubectl patch --local --filename=- --type=json --output=yaml --patch='[
        {"op": "add", "path": "/spec/template/spec/containers/0/command", "value": ["sleep", "3600"]},
        {"op": "remove", "path": "/spec/template/spec/containers/0/args"},
        {"op": "add", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 1}]' |
    ai apply --filename=-
until [ -n "$(ai get pod --selector=job-name=incoming --output=name)" ]; do
    if ((SECONDS > 120)); then
        ai describe job incoming >&2
        exit 1
    fi
    sleep 1
done
ai wait pod --selector=job-name=incoming --for=condition=ready --timeout=10m
ai exec job/incoming -- mkdir -p /models/incoming
tar --create --dereference --directory="$(dirname "$directory")" "$(basename "$directory")" |
    ai exec --stdin job/incoming -- tar --extract --no-same-owner --directory=/models/incoming
