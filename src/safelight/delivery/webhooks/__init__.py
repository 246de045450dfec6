"""Webhooks: what happened is posted, signed, to whoever asked for it, until it is taken or given up.

    event's transaction ── message + lane ──► courier claims the lane ── sign ── guarded POST ──► 2xx: the next one
                                                                                           └──► again later, or dead

A message exists from the same commit on as what it tells of. A lane is an endpoint and a job: of it only the first
message that nobody took may be sent, by whoever has claimed the lane, so that a job's events come in their order. A
crash between a receiver's 2xx and our taking note of it sends that message once more, under the same id.
"""
