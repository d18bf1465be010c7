"""Publishes a document to Ebb: `publish.py COLLECTION ID TEXT...`, each text a chunk.

Needs nats-py 2.9 or newer. The server and the login come from the environment, under the names that every program of Ebb
takes; EBB_MODEL_NAME is the model of the lanes, `minilm` by default.
"""

import asyncio
import json
import os
import ssl
import sys
import time

import nats
from nats.errors import Error as NatsError


def login():
    settings = {"inbox_prefix": os.environ.get("NATS_INBOX_PREFIX", "_INBOX")}
    if "NATS_USER" in os.environ:
        settings["user"] = os.environ["NATS_USER"]
        settings["password"] = os.environ["NATS_PASSWORD"]
    if "NATS_CA" in os.environ:
        settings["tls"] = ssl.create_default_context(cafile=os.environ["NATS_CA"])
    return settings


async def publish(collection, document, texts):
    # The newest version wins, in whatever order jobs arrive. Publishing this one again changes nothing.
    version = time.time_ns() // 1000
    job = {
        "version": "1.0",
        "kind": "embed",
        "collection": collection,
        "documents": [{"id": document, "version": version, "chunks": [{"text": text} for text in texts]}],
    }
    subject = f"jobs.embed.{os.environ.get('EBB_MODEL_NAME', 'minilm')}.live"
    url = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
    connection = await nats.connect(url, allow_reconnect=False, **login())
    try:
        # A job whose acknowledgement was lost is recognised for 20 minutes when it is sent again with its id.
        headers = {"Nats-Msg-Id": f"{collection}/{document}/{version}"}
        stored = await connection.jetstream().publish(
            subject, json.dumps(job).encode(), timeout=10, stream="JOBS", headers=headers
        )
    finally:
        await connection.close()
    print(f"stored as job {stored.seq}, version {version}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    try:
        asyncio.run(publish(sys.argv[1], sys.argv[2], sys.argv[3:]))
    except (NatsError, OSError) as error:
        sys.exit(f"not published: {error!r}")
