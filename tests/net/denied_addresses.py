"""Addresses that nobody outside may have us connect to, and what each is."""

DENIED = {
    "0.0.0.0": "not a public",
    "0.1.2.3": "not a public",
    "10.0.0.1": "not a public",
    "10.255.255.255": "not a public",
    "100.64.0.1": "not a public",  # shared by a carrier's customers
    "100.100.100.200": "not a public",  # Alibaba's metadata
    "100.127.255.255": "not a public",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "the cloud",  # Azure's
    "169.254.169.254": "not a public",  # metadata of most clouds
    "169.254.170.2": "not a public",  # credentials of an ECS task
    "172.16.0.1": "not a public",
    "172.31.255.255": "not a public",
    "192.0.0.9": "reserved for protocols",
    "192.0.0.192": "reserved for protocols",  # Oracle's metadata
    "192.0.2.1": "not a public",
    "192.88.99.1": "6to4",
    "192.168.0.1": "not a public",
    "198.18.0.1": "not a public",
    "198.51.100.1": "not a public",
    "203.0.113.1": "not a public",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "not a public",
    "255.255.255.255": "not a public",
    "::": "IPv4 address written as IPv6",
    "::1": "loopback",
    "::7f00:1": "IPv4 address written as IPv6",
    "::808:808": "IPv4 address written as IPv6",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "not a public",
    "::ffff:10.0.0.1": "not a public",
    "::ffff:168.63.129.16": "the cloud",
    "::ffff:0:127.0.0.1": "not a public",  # translated by SIIT
    "64:ff9b::7f00:1": "translation",
    "64:ff9b::a9fe:a9fe": "translation",
    "64:ff9b::808:808": "translation",
    "64:ff9b:1::a9fe:a9fe": "translation",
    "100::1": "not a public",
    "2001::a9fe:a9fe": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:2::1": "not a public",
    "2001:10::1": "not a public",
    "2001:db8::1": "not a public",
    "2002:7f00:1::1": "6to4",
    "2002:a9fe:a9fe::1": "6to4",
    "2606:4700::5efe:a9fe:a9fe": "ISATAP",
    "2606:4700::200:5efe:a00:1": "ISATAP",
    "3fff::1": "documentation",
    "4000::1": "not a public",  # given to nobody
    "5f00::1": "segment routing",
    "fc00::1": "not a public",
    "fd00:ec2::254": "not a public",  # AWS's metadata
    "fe80::1": "not a public",
    "fe80::5efe:7f00:1": "ISATAP",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}
