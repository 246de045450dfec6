"""Stands in for the vendors: their wire formats, scripted faults, and a bill of its own.

    server      a real socket, and connections that can be cut        serve(), running_sandbox()
      app       routes: the vendors', /files, /bill, /requests, /control        create_app()
        desk    from a request to a planned call, and from an answer back to the caller
        vendor  one task per call: plan, wait, draw, charge
          protocol  what each vendor brings: name, faults, orders
            gemini      answers in the same call      its models and prices: models
            openai      answers in the same call      openai_models      forms
            replicate   hands out jobs                replicate_models   references
            fal         hands out jobs                fal_models         references
              jobs        run by themselves, are looked at until they end        job_outputs
          faults    what a call is scripted to do        latency   how long it takes
          spoiling  what can go wrong with any answer    decoys    what comes in a picture's place
          wire      an answer's way to the caller, good or bad
          pictures  ready pictures  ←  scenes  ←  canvas           files     what is fetched by address
          bill      the lines in `bill.jsonl`

Nothing here is shared with the code that calls vendors: when both agree, two independent parties agree.
"""
