"""The durable engine: from an accepted job to settled images, whatever crashes on the way.

    watch       who looks after all of it: the doctor, and alerts
    figures     what became of everything, for people and for /metrics
    estimates   what lies before images that wait or are not ordered yet: how much, how long, at what price
    schedules   jobs when their time has come
    orders      submit, cancel, retry
    queue       admission → dispatch → worker; the sweep heals what was lost
    upkeep      retention, erasure, restore, standstills
    image       the way of one claimed image: claim → attempt → keep → settle
    accounts    what an account owns and owes: keys, books, styles, uploads

Each room uses those below it, and all of them what lies beside this file: `gates`, `pause`, `timing`, `databases` and
`failpoints`. Every write to an image is fenced by its claim token.
"""
