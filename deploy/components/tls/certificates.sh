#!/usr/bin/env bash
# Makes an authority and the certificates of NATS and Qdrant, by openssl, for those who have no cert-manager:
#   certificates.sh DIRECTORY [NAMESPACE_OF_DATA [NAMESPACE_OF_PROGRAMS]]
# and prints the commands that put them into the cluster. The authority stays in the directory when it is there already, so
# that running it again renews the certificates alone. Keep authority.key where nobody else reads it, or delete it.
# MORE_NAMES has more subject alternative names for both, like IP:192.0.2.7,DNS:nats.example.com.
set -euo pipefail

if [ $# -lt 1 ]; then
    sed -n '2,6s/^# //p' "$0" >&2
    exit 64
fi
directory=$1 data=${2:-ebb-data} programs=${3:-ebb-ai}
authority_days=3650 certificate_days=397

umask 077
mkdir -p "$directory"
cd "$directory"

if [ ! -f ca.crt ]; then
    openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$authority_days" \
        -subj "/CN=Ebb" -keyout authority.key -out ca.crt \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
fi

# certificate NAME SUBJECT_ALTERNATIVE_NAMES
certificate() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$1.key" -out "$1.csr" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' \
        "$2${MORE_NAMES:+,$MORE_NAMES}" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey authority.key -days "$certificate_days" \
        -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm "$1.csr" "$1.ext"
}

# hosts SERVICE
hosts() {
    printf 'DNS:%s,DNS:%s.%s,DNS:%s.%s.svc,DNS:%s.%s.svc.cluster.local' "$1" "$1" "$data" "$1" "$data" "$1" "$data"
}

# peers SERVICE: the names by which servers of one cluster call each other.
peers() {
    printf ',DNS:%s-0.%s-headless,DNS:%s-1.%s-headless,DNS:%s-2.%s-headless' "$1" "$1" "$1" "$1" "$1" "$1"
}

certificate nats "$(hosts nats)$(peers nats),DNS:*.nats-headless.$data.svc,DNS:*.nats-headless.$data.svc.cluster.local"
certificate qdrant "$(hosts qdrant)$(peers qdrant)"

for server in nats qdrant; do
    echo "kubectl --namespace $data create secret generic $server-tls --from-file=tls.crt=$PWD/$server.crt" \
        "--from-file=tls.key=$PWD/$server.key --from-file=ca.crt=$PWD/ca.crt --dry-run=client --output=yaml |" \
        "kubectl apply --filename -"
done
echo "kubectl --namespace $programs create secret generic ebb-ca --from-file=ca.crt=$PWD/ca.crt --dry-run=client" \
    "--output=yaml | kubectl apply --filename -"
