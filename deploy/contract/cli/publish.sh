#!/bin/sh
# Publishes a job to Ebb by the nats CLI, 0.5 or newer: publish.sh < job.json
#
# The server and the login come from the environment, as for every program of Ebb: NATS_URL, NATS_USER, NATS_PASSWORD,
# NATS_CA, NATS_INBOX_PREFIX. EBB_MODEL_NAME is the model of the lane, minilm by default.
set -eu

# --jetstream waits until the job is stored, and fails if it is not. The body is no template.
exec nats pub "jobs.embed.${EBB_MODEL_NAME:-minilm}.live" --force-stdin --no-templates --jetstream \
    --inbox-prefix "${NATS_INBOX_PREFIX:-_INBOX}"
