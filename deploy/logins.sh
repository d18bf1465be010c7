#!/usr/bin/env bash
# Makes the namespaces, and Secrets with passwords and keys that nobody has to know: of the roles of NATS, and of Qdrant.
#
#   deploy/logins.sh [AI DATA]
#
# The namespaces are ebb-ai and ebb-data unless others are named. Run again, it changes nothing.
set -euo pipefail

ai=${1:-ebb-ai}
data=${2:-ebb-data}

# A password begins with a letter: NATS would take digits for a number.
password() { echo "p$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"; }

# secret NAMESPACE NAME KEY=VALUE...
secret() {
    local namespace=$1 name=$2
    shift 2
    kubectl --namespace "$namespace" create secret generic "$name" "${@/#/--from-literal=}" --dry-run=client --output=yaml |
        kubectl apply --filename=-
}

for namespace in "$ai" "$data"; do
    kubectl create namespace "$namespace" --dry-run=client --output=yaml | kubectl apply --filename=-
done
# It is written last: where it is, all are.
there=$(kubectl --namespace "$data" get secret nats-server --ignore-not-found --output=name)
if [[ -n $there ]]; then
    echo "the Secrets are there already"
    exit 0
fi
key=$(password)
for namespace in "$ai" "$data"; do
    secret "$namespace" qdrant "api-key=$key" "read-only-api-key=r$key"
done
server=()
for role in worker indexer provision publisher; do
    word=$(password)
    secret "$ai" "nats-$role" "user=$role" "password=$word"
    server+=("NATS_${role^^}_PASSWORD=$word")
done
secret "$data" nats-server "${server[@]}"
