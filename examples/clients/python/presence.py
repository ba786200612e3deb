"""Hands a user's stored events to the devices that are connected here, as a presence service does:

    python presence.py APP USER CURSOR_FILE DEVICE...
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

import nats
import nats.errors

STREAM = "CONVERSATION_EVENTS"


def token(text):
    """Writes an id as one token of a subject. quote leaves two characters that Lethe escapes."""
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


async def expired(js, info, cursor):
    """Reports whether events after the cursor may be gone."""
    if cursor == 0:
        return False
    if cursor + 1 < info.state.first_seq or cursor > info.state.last_seq:
        return True
    for subject, count in (info.state.subjects or {}).items():
        if 0 < info.config.max_msgs_per_subject <= count:
            oldest = await js.get_msg(STREAM, seq=1, subject=subject, direct=True, next=True)
            if oldest.seq > cursor + 1:
                return True
    return False


def parsed(text):
    """Reads an event's body; what isn't one is nobody's, and would stop each start, too."""
    try:
        event = json.loads(text)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {}


def receivers(kind, event, user, devices):
    """Chooses the devices that an event is for."""
    if kind in ("conversation.deleted", "conversation.all_deleted"):
        # If another member asked for everyone, that was on none of these devices.
        if event.get("multi_client_sync") or event.get("scope") == "everyone" and event.get("requested_by") != user:
            return devices
    elif kind != "conversation.delete_failed":
        return []  # erased asks nothing of a device; ignore types of newer workers
    return [device for device in devices if device == event.get("origin_device_id")]


async def follow(nc, app, user, file, devices):
    js = nc.jetstream()
    subject = f"conversation.*.{token(app)}.{token(user)}"
    # The sequence of the last event that was handed over; 0 hands over all that the stream keeps. A real service has one for
    # each device.
    cursor = int(file.read_text()) if file.exists() else 0

    # What comes live says when to read; a service for all users subscribes once, to conversation.*.<app>.*
    live = asyncio.Event()

    async def wake(_):
        live.set()

    await nc.subscribe(subject, cb=wake)
    info = await js.stream_info(STREAM, subjects_filter=subject)
    if await expired(js, info, cursor):
        cursor = info.state.last_seq
        for device in devices:
            print(device, "reload", flush=True)  # its list, and follow from here
    seen = set()
    while True:
        live.clear()
        try:  # the next event, missed or new, by direct get: no consumer is left on the server
            event = await js.get_msg(STREAM, seq=cursor + 1, subject=subject, direct=True, next=True)
        except nats.errors.ConnectionClosedError:
            raise  # for good
        except nats.errors.Error:  # there is none, or no answer; the stream may have one a moment after it came live
            try:
                await asyncio.wait_for(live.wait(), 1)
            except asyncio.TimeoutError:
                pass
            continue
        headers, text = event.headers or {}, event.data.decode(errors="replace")
        id, kind = headers.get("ce-id"), headers.get("ce-type")
        if id not in seen:
            for device in receivers(kind, parsed(text), user, devices):
                print(device, kind, text, flush=True)
        seen.add(id)  # a repeated event has the same; a real service forgets the oldest
        cursor = event.seq
        file.write_text(str(cursor))  # after handing over: what is lost in between comes again


async def main(app, user, file, *devices):
    nc = await nats.connect(
        os.environ.get("NATS_URL", "nats://localhost:4222"),
        inbox_prefix=os.environ.get("NATS_INBOX_PREFIX", "_INBOX"),  # each user of deploy/nats has one of its own
        max_reconnect_attempts=-1,
    )
    try:
        await follow(nc, app, user, Path(file), devices)
    finally:
        await nc.close()


if len(sys.argv) < 5:
    sys.exit("presence: expected APP USER CURSOR_FILE DEVICE [DEVICE ...]")
try:
    asyncio.run(main(*sys.argv[1:]))
except (nats.errors.Error, OSError) as err:
    sys.exit(f"presence: {STREAM}: {err}")
