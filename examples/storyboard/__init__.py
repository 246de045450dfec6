"""A film tool on Safelight: master assets, start frames and end frames of shots, edits with a mask.

It shows what an app of yours needs around Safelight's HTTP API and nothing else: `safelight.client` is all it imports.
"""
