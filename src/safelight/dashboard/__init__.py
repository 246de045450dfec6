"""Pages for people, drawn by the server from what the public API answers.

A page asks the API in the same process on behalf of whoever looks at it, so it shows and does what a client with the
same key could, and nothing else. Without JavaScript everything can be read; with it a page follows what happens.
"""
