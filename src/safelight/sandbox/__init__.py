"""Stands in for the vendors: their wire formats, scripted faults, and a bill of its own.

    server      a real socket, and connections that can be cut        serve(), running_sandbox()
      app       routes: the vendor's, /bill, /requests, /control      create_app()
        vendor  one task per call: plan, wait, draw, charge
          gemini    the wire: requests in, answers and errors out
          wire      an answer's way to the caller, good or bad
          faults    what a call is scripted to do        latency   how long it takes
          models    what is sold, and for how much       bill      the lines in `bill.jsonl`
          pictures  ready PNGs  ←  scenes  ←  canvas     decoys    what comes in a picture's place

Nothing here is shared with the code that calls vendors: when both agree, two independent parties agree.
"""
