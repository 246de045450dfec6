"""A studio for product photos: people order pictures of their products and pay with tokens.

Safelight makes the pictures and keeps the tokens' books; the studio knows its people, what they ordered, and nothing
else.
"""
