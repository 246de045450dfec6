"""Addresses that nothing is posted to, and as what each is refused."""

from __future__ import annotations

NOT_ALLOWED, UNRESOLVABLE = "url-not-allowed", "url-unresolvable"

_LITERALS = (
    *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "192.168.0.1", "168.63.129.16"),
    *("2130706433", "0x7f.1", "0177.0.0.1", "127.1", "１２７.0.0.1", "①②⑦.⓪.⓪.①", "0x7f000001"),
    *(
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[::127.0.0.1]",
        "[fe80::1%25eth0]",
    ),
)

BAD_URLS: dict[str, tuple[str, str]] = {
    **{
        f"the address {url!r}": (url, NOT_ALLOWED)
        for url in (
            "",
            "http://hooks.example/",
            "ftp://hooks.example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "/hooks",
            "//hooks.example/",
            "hooks.example",
            "https://",
            "https://user@hooks.example/",
            "https://user:secret@hooks.example/",
            "https://hooks.example/#top",
            "https://hooks.example\\@127.0.0.1/",
            "https://hooks.example/ x",
            "https://hooks.example/\nx",
            "https://hooks.example\n/x",
            "https://hooks.example:22/",
            "https://hooks.example:8080/",
            "https://hooks.example:0/",
            "https://hooks.example:99999/",
            "https://localhost/",
            "https://printer.local/",
            "https://db.internal/",
            "https://private.example/",
            "https://mixed.example/",
        )
    },
    **{f"the host {host}": (f"https://{host}/", NOT_ALLOWED) for host in _LITERALS},
    "an address of 2049 characters": ("https://hooks.example/" + "x" * 2027, NOT_ALLOWED),
    "a host that leads nowhere": ("https://nobody.example/", UNRESOLVABLE),
}
