"""Which interfaces to use, and whether they give multicast at all.

The second is asked by a datagram to ourselves, because everything else stays silent when it does not work.
"""

import ipaddress
import os
import socket

GROUP = "224.0.0.251"  # RFC 6762 section 3

PROBE_S = 0.5
"""A datagram to ourselves takes microseconds; this long only on a machine on its knees."""


def multicast_trouble(interface: str) -> str | None:
    """Why a datagram sent to the mDNS group on this interface (an IPv4 address) does not come back; None if it does.

    Blocks up to half a second. Nothing leaves the machine (TTL 0), and the port is a random one.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(PROBE_S)
            local = socket.inet_aton(interface)
            probe.bind(("", 0))
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + local)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, local)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            word = os.urandom(16)
            probe.sendto(word, (GROUP, probe.getsockname()[1]))
            return None if probe.recv(len(word)) == word else "a stranger's datagram came back instead of ours"
    except TimeoutError:
        return "multicast datagrams do not come back"
    except OSError as error:
        return error.strerror or str(error)


def interfaces_for(listen: str) -> tuple[str, ...]:
    """The interfaces for mDNS of an endpoint that listens on `host:port`: what nobody could dial is not announced.

    A wildcard or a name gives none, which `run_mdns` reads as all but loopback; an IPv4 address gives itself, so an
    endpoint that listens on 127.0.0.1 only stays on loopback.
    """
    host = listen.rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    return () if address.is_unspecified or address.version == 6 else (host,)
