"""Publishes one deletion, as a gateway does when a user asks for it:

    python gateway.py APP USER DEVICE CONVERSATION THROUGH_SEQ [COMMAND_ID]
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import datetime, timezone
from urllib.parse import quote

import nats
import nats.errors
from nats.js.errors import APIError, NoStreamResponseError


def token(text):
    """Writes an id as one token of a subject. quote leaves two characters that Lethe escapes."""
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


async def publish(nc, subject, command):
    """Stores the command and returns the stream's acknowledgement.

    Where none comes it publishes again: with the same command_id it is still one deletion. It sets no Nats-Msg-Id, since
    all apps share the stream's window for duplicates.
    """
    wait = 1
    while True:
        try:
            return await nc.jetstream().publish(subject, json.dumps(command).encode(), timeout=5)
        except NoStreamResponseError:
            sys.exit(f'gateway: no stream takes {subject}: run "worker setup"')
        except (APIError, nats.errors.TimeoutError) as err:
            # 10077: a limit, mostly of the app's unfinished commands; workers will finish some. Any other refusal is final.
            final = isinstance(err, APIError) and err.err_code != 10077
            if final or wait > 8:
                raise
            print(f"gateway: {err}: publishing {command['command_id']} again in {wait} s", file=sys.stderr)
        await asyncio.sleep(wait)
        wait *= 2


async def main(app, user, device, conversation, through_seq, command_id=None):
    command = {
        "command_id": command_id or str(uuid.uuid4()),  # a real gateway keeps it with the user's request
        "app_id": app,
        "user_id": user,
        "device_id": device,
        "conversations": [{"id": conversation, "through_seq": int(through_seq)}],  # the greatest seq that the device showed
        "requested_at": datetime.now(timezone.utc).isoformat(),
    }
    # Each user of deploy/nats has an inbox prefix of its own.
    nc = await nats.connect(
        os.environ.get("NATS_URL", "nats://localhost:4222"),
        inbox_prefix=os.environ.get("NATS_INBOX_PREFIX", "_INBOX"),
    )
    try:
        ack = await publish(nc, f"conversation.delete.{token(app)}", command)
        print(f"stored {command['command_id']} in {ack.stream} at {ack.seq}")
    finally:
        await nc.close()


if len(sys.argv) < 6:
    sys.exit("gateway: expected APP USER DEVICE CONVERSATION THROUGH_SEQ [COMMAND_ID]")
try:
    asyncio.run(main(*sys.argv[1:]))
except (nats.errors.Error, OSError) as err:
    sys.exit(f"gateway: {err}")
