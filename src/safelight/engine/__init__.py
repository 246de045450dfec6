"""The durable engine: from an accepted job to settled images, whatever crashes on the way.

submit → admission → dispatch → claim → attempt → settle; sweep heals what was lost; control is the caller's cancel and
retry. Every write to an image is fenced by its claim token.
"""
