"""The durable engine: from an accepted job to settled images, whatever crashes on the way.

    figures     what became of everything
    ahead       what lies before what waits
    schedules   jobs when their time has come
    orders      submit, cancel, retry
    queue       admission → dispatch → worker; the sweep heals what was lost
    upkeep      retention, erasure, restore, standstills
    image       the way of one claimed image: claim → attempt → keep → settle
    tenants     accounts, keys, books, styles, uploads

Each room uses those below it, and all of them what lies beside this file: `gates`, `pause`, `timing`, `databases` and
`failpoints`. Every write to an image is fenced by its claim token.
"""
