#!/usr/bin/env bash
# Shows on any cluster that workers come when jobs wait, go when none does, and lose nothing on the way: 0 -> N -> 0.
#
#   deploy/e2e.sh           against the current context of kubectl; it removes what it has made
#   deploy/e2e.sh --keep    leaves it there
#
# The cluster needs KEDA 2.20 or newer in the namespace `keda`, a default storage class, and nodes that have the images
# ebb/worker and ebb/indexer, for example by `kind load docker-image` or `k3s ctr images import`. All that is made lies in
# the namespaces of deploy/e2e/names/names.yaml.
set -euo pipefail
cd "$(dirname "$0")"

ai=ebb-e2e-ai
data=ebb-e2e-data
namespaces=("$ai" "$data" ebb-e2e-ops)
documents=20000
keep=${1:-}

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }

fail() {
    say "FAILED: $*"
    kubectl --namespace "$ai" get pods,jobs,scaledobjects,hpa || true
    kubectl --namespace "$data" get pods || true
    kubectl --namespace "$ai" get events --sort-by=.lastTimestamp | tail -n 20 || true
    exit 1
}

clean() {
    [ "$keep" = --keep ] && return
    say "removing ${namespaces[*]}"
    kubectl delete namespace "${namespaces[@]}" --ignore-not-found --wait=false >/dev/null
}

# until_true SECONDS WHAT COMMAND...: waits for a condition.
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        ((SECONDS < deadline)) || fail "still waiting until $what"
        sleep 2
    done
    say "$what"
}

# Counts the pods of the Deployment, whatever they do, and remembers the largest fleet.
now=0
most=0
look() {
    now=$(kubectl --namespace "$ai" get deployment worker --output jsonpath='{.status.replicas}')
    now=${now:-0}
    most=$((now > most ? now : most))
}

none_left() {
    look
    ((now == 0))
}

several() {
    look
    ((now >= 2))
}

scaled_object_is() {
    local status
    status=$(kubectl --namespace "$ai" get scaledobject worker \
        --output jsonpath="{.status.conditions[?(@.type==\"$1\")].status}")
    [ "$status" = "$2" ]
}

# job_is NAME CONDITION: whether a Job is complete, or has failed.
job_is() {
    local status
    status=$(kubectl --namespace "$ai" get job "$1" --output jsonpath="{.status.conditions[?(@.type==\"$2\")].status}")
    [ "$status" = True ]
}

# run_job CRONJOB NAME: runs it now and prints what it said last.
run_job() {
    local deadline=$((SECONDS + 600))
    # Nobody owns it: of its own Jobs that are complete, a CronJob keeps the newest, and would delete this one before it is seen.
    kubectl --namespace "$ai" create job "$2" --from="cronjob/$1" --dry-run=client --output=yaml |
        kubectl patch --local --filename=- --type=merge --output=yaml --patch='{"metadata": {"ownerReferences": null}}' |
        kubectl --namespace "$ai" create --filename=- >/dev/null
    until job_is "$2" Complete; do
        if job_is "$2" Failed || ((SECONDS >= deadline)); then
            kubectl --namespace "$ai" logs --selector "job-name=$2" --tail=-1 --prefix >&2 || true
            fail "job $2 did not complete" >&2
        fi
        sleep 2
    done
    kubectl --namespace "$ai" logs "job/$2" | tail -n 1
}

# number_of NAME: the last number of this name in the JSON on standard input.
number_of() { sed -n "s/.*\"$1\":\([0-9][0-9]*\).*/\1/p"; }

secret() {
    local namespace=$1 name=$2
    shift 2
    kubectl --namespace "$namespace" create secret generic "$name" "${@/#/--from-literal=}" >/dev/null
}

logins() {
    local role password server=()
    for role in worker indexer provision publisher; do
        password=p$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
        secret "$ai" "nats-$role" "user=$role" "password=$password"
        server+=("NATS_${role^^}_PASSWORD=$password")
    done
    secret "$data" nats-server "${server[@]}"
    password=p$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    secret "$ai" qdrant "api-key=$password" "read-only-api-key=r$password"
    secret "$data" qdrant "api-key=$password" "read-only-api-key=r$password"
}

model() {
    local tiny=../fixtures/models/tiny-embed
    kubectl --namespace "$ai" create configmap tiny-model \
        --from-file=model.onnx=$tiny/onnx/model.onnx --from-file=pooling.json=$tiny/1_Pooling/config.json \
        --from-file=$tiny/config.json --from-file=$tiny/modules.json --from-file=$tiny/sentence_bert_config.json \
        --from-file=$tiny/tokenizer.json --from-file=$tiny/tokenizer_config.json >/dev/null
}

kubectl get crd scaledobjects.keda.sh >/dev/null || fail "KEDA is not installed"
for namespace in "${namespaces[@]}"; do
    if kubectl get namespace "$namespace" >/dev/null 2>&1; then
        say "namespace $namespace is there already; remove it first: kubectl delete namespace ${namespaces[*]}"
        exit 1
    fi
done
trap clean EXIT

say "installing"
for namespace in "${namespaces[@]}"; do
    kubectl create namespace "$namespace" >/dev/null
done
logins
model
kubectl apply --kustomize e2e >/dev/null
kubectl --namespace "$ai" scale deployment worker --replicas=0 >/dev/null
for job in model-stage provision; do
    run_job "$job" "$job-1" >/dev/null
    say "job $job is done"
done

# The consumers are there now, which KEDA looks for.
kubectl apply --kustomize e2e/keda >/dev/null
until_true 120 "KEDA reads the backlog" scaled_object_is Ready True
until_true 300 "no worker is left" none_left

published=$(run_job publish publish | number_of documents)
[ "$published" = "$documents" ] || fail "published ${published:-no} documents instead of $documents"
say "published $published documents"
until_true 300 "several workers are there" several
# The number is KEDA's: what is applied again says none, and nothing is in its way. The number itself may change meanwhile.
kubectl apply --kustomize e2e >/dev/null
applied=$(kubectl --namespace "$ai" get deployment worker \
    --output jsonpath='{.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}')
[[ $applied == *'"spec"'* && $applied != *'"replicas"'* ]] || fail "applying again sets the number of workers: $applied"
until_true 1200 "no worker is left again" none_left

status=$(run_job status status)
points=$(number_of points <<<"$status")
dead=$(number_of dead_letters <<<"$status")
[ "$points" = "$documents" ] && [ "$dead" = 0 ] || fail "lost something: $status"
say "passed: 0 -> $most -> 0, $points of $documents documents are there"
