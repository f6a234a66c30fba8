//! Where a webhook may be: what a URL may look like, and which addresses are the public internet's.
//!
//! Whoever writes a URL here makes this server send requests. So only public addresses are allowed, and only in their
//! plain spelling: what programs read differently is refused rather than understood. Names are judged by what they
//! resolve to, at every connection; this module says of each address whether it will do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::Issue;

const MAX_BYTES: usize = 2_048;

/// The IANA registry of special-purpose IPv4 addresses (RFC 6890 and later), multicast, and one address that is special
/// on Azure only. Those that are said to be reachable (AS112, AMT) are not servers of anybody's either.
const SPECIAL_V4: [(Ipv4Addr, u8); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// All of IPv6 that is given out to networks.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What of it is special all the same. Outside of it are loopback, `::ffff:0:0/96`, `64:ff9b::/96`, `fc00::/7`,
/// `fe80::/10`, multicast and the rest.
const SPECIAL_V6: [(Ipv6Addr, u8); 5] = [
    // Protocol assignments, Teredo and ORCHID among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4: an IPv4 address in disguise.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is somebody's server on the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|(net, bits)| Ipv4Net::new(*net, *bits).is_ok_and(|net| net.contains(&v4))),
        IpAddr::V6(v6) => {
            let within = |(net, bits): (Ipv6Addr, u8)| Ipv6Net::new(net, bits).is_ok_and(|net| net.contains(&v6));
            within(GLOBAL_V6) && !SPECIAL_V6.into_iter().any(within)
        }
    }
}

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// `https` to public addresses.
    Public,
    /// Also `http`, and any address: for development.
    Anywhere,
}

impl Reach {
    pub fn allows(self, address: IpAddr) -> bool {
        self == Self::Anywhere || is_public(address)
    }
}

/// Reads the URL of an endpoint. E: an issue at `/url`.
pub fn target(text: &str, reach: Reach) -> Result<Url, Issue> {
    let refuse = |detail: &str| Issue::new("/url", "invalid_value", detail);
    let private = || Issue::new("/url", "address_not_public", "webhooks are only sent to public addresses");
    if text.len() > MAX_BYTES {
        return Err(refuse("a URL has at most 2048 bytes"));
    }
    // The URL standard drops or turns these around; others do not.
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(refuse("a URL has no white space, control characters or backslashes"));
    }
    let url = Url::parse(text).map_err(|_| refuse("expected a URL such as https://hooks.example.com/people"))?;
    match (url.scheme(), reach) {
        ("https", _) | ("http", Reach::Anywhere) => {}
        _ => return Err(refuse("expected a URL that begins with https://")),
    }
    if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
        return Err(refuse("a URL here has no user name and no password; the signature says who sends it"));
    }
    if url.fragment().is_some() {
        return Err(refuse("a URL here has no fragment"));
    }
    if url.port() == Some(0) {
        return Err(refuse("port 0 is nobody's"));
    }
    match url.host() {
        None => return Err(refuse("the URL names no host")),
        Some(Host::Ipv4(v4)) => {
            // 0177.1, 2130706433, 127.1 and others: one address, many spellings.
            if host_of(text) != v4.to_string() {
                return Err(refuse("write an IPv4 address as four decimal numbers"));
            }
            if !reach.allows(v4.into()) {
                return Err(private());
            }
        }
        Some(Host::Ipv6(v6)) => {
            if !reach.allows(v6.into()) {
                return Err(private());
            }
        }
        Some(Host::Domain(name)) => {
            if name.ends_with('.') {
                return Err(refuse("a host is written without a dot at its end"));
            }
            let local = name == "localhost" || name.ends_with(".localhost") || !name.contains('.');
            if local && reach == Reach::Public {
                return Err(private());
            }
        }
    }
    Ok(url)
}

fn authority(text: &str) -> &str {
    let after = text.split_once("//").map_or("", |(_, after)| after);
    after.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The host as it was written.
fn host_of(text: &str) -> &str {
    let authority = authority(text);
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::{any, proptest};

    use super::{Reach, is_public, target};

    /// Spellings of places a webhook must never reach, and of URLs that programs read differently.
    const REFUSED: &[&str] = &[
        // Loopback.
        "https://127.0.0.1/",
        "https://127.0.0.1:8443/x",
        "https://127.1/",
        "https://127.0.1/",
        "https://127.255.255.254/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0x0.0x0.0x1/",
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://0x7f.1/",
        "https://127.0.0.1./",
        "https://%31%32%37.0.0.1/",
        "https://127%2e0%2e0%2e1/",
        "https://１２７.0.0.1/",
        "https://127。0。0。1/",
        "https://①②⑦.⓪.⓪.①/",
        "https://localhost/",
        "https://LOCALHOST/",
        "https://localhost./",
        "https://foo.localhost/",
        "https://[::1]/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[::]/",
        "https://0/",
        "https://0.0.0.0/",
        "https://00000.0/",
        // IPv4 within IPv6.
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://[64:ff9b:1::1]/",
        "https://[2002:7f00:1::]/",
        "https://[2002:a00:1::1]/",
        "https://[2001:0:7f00:1::]/",
        "https://[::ffff:8.8.8.8]/",
        // Private, shared, link-local, unique local.
        "https://10.0.0.1/",
        "https://10.255.255.255/",
        "https://172.16.0.1/",
        "https://172.31.255.255/",
        "https://192.168.0.1/",
        "https://3232235521/",
        "https://0xc0a80001/",
        "https://0300.0250.0.1/",
        "https://100.64.0.1/",
        "https://100.127.255.255/",
        "https://100.100.100.200/",
        "https://169.254.169.254/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2852039166/",
        "https://0xa9fea9fe/",
        "https://0251.0376.0251.0376/",
        "https://168.63.129.16/",
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fc00::1]/",
        "https://[fd00:ec2::254]/",
        "https://[fec0::1]/",
        "https://[5f00::1]/",
        "https://[100::1]/",
        // Documentation, benchmarking, protocols, multicast, reserved.
        "https://192.0.0.1/",
        "https://192.0.2.1/",
        "https://198.51.100.7/",
        "https://203.0.113.9/",
        "https://198.18.0.1/",
        "https://198.19.255.255/",
        "https://192.88.99.1/",
        "https://192.31.196.1/",
        "https://192.52.193.1/",
        "https://192.175.48.1/",
        "https://224.0.0.1/",
        "https://239.255.255.250/",
        "https://240.0.0.1/",
        "https://255.255.255.255/",
        "https://[ff02::1]/",
        "https://[2001:db8::1]/",
        "https://[3fff::1]/",
        "https://[2001:20::1]/",
        "https://[2620:4f:8000::1]/",
        // What is read differently, or is no place for a secret.
        "https://user@hooks.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://@hooks.example.com/",
        "https://hooks.example.com@127.0.0.1/",
        "https://127.0.0.1@hooks.example.com/",
        "https://hooks.example.com./",
        "https://hooks.example.com\\@127.0.0.1/",
        "https:\\\\127.0.0.1/",
        "https://hooks.example.com/#x",
        "https://hooks .example.com/",
        "https://hooks.example.com\t/",
        "https://hooks.example.com/\nHost: x",
        "https://8.8.2056/",
        "https://134744072/",
        "https://0x8080808/",
        "https://08.8.8.8/",
        "https://intranet/",
        "https://intranet:8443/x",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "//hooks.example.com/",
        "hooks.example.com",
        "https://",
        "https:///x",
        "https://[::1",
        "",
        "javascript:alert(1)",
        "data:text/plain,x",
    ];

    const TAKEN: &[&str] = &[
        "https://hooks.example.com/",
        "https://hooks.example.com/people?tenant=7",
        "https://hooks.example.com:8443/a/b",
        "https://HOOKS.example.com/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://8.8.8.8:444/",
        "https://[2606:4700:4700::1111]/",
        "https://[2001:4860:4860::8888]:8443/",
        "https://127.0.0.1.nip.example/",
        "https://a-b.example.co.uk/x@y",
        "https://hooks.example.com/?to=user@example.com",
    ];

    #[test]
    fn a_webhook_goes_to_public_places_in_plain_spelling() {
        assert!(REFUSED.len() >= 80, "{}", REFUSED.len());
        for text in REFUSED {
            assert!(target(text, Reach::Public).is_err(), "{text:?} was taken");
        }
        for text in TAKEN {
            assert!(target(text, Reach::Public).is_ok(), "{text:?} was refused");
        }
    }

    #[test]
    fn in_development_any_address_will_do_but_no_odd_spelling() {
        for text in ["http://127.0.0.1:8080/x", "http://localhost:1/", "https://[::1]/", "http://receiver/"] {
            assert!(target(text, Reach::Anywhere).is_ok(), "{text:?} was refused");
        }
        for text in ["http://127.1/", "http://2130706433/", "http://u@127.0.0.1/", "http://localhost./", "ftp://127.0.0.1/"] {
            assert!(target(text, Reach::Anywhere).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn the_edges_of_a_range_are_where_they_are() {
        for (address, public) in [
            ("9.255.255.255", true),
            ("11.0.0.0", true),
            ("100.63.255.255", true),
            ("100.128.0.0", true),
            ("126.255.255.255", true),
            ("128.0.0.0", true),
            ("172.15.255.255", true),
            ("172.32.0.0", true),
            ("223.255.255.255", true),
            ("224.0.0.0", false),
            ("198.17.255.255", true),
            ("198.20.0.0", true),
            ("1fff::1", false),
            ("2001:200::1", true),
            ("2001:1ff::1", false),
            ("2001:db9::1", true),
            ("2003::1", true),
            ("4000::", false),
            ("3fff:1000::", true),
        ] {
            assert_eq!(address.parse().map(is_public), Ok(public), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_private_address_hides_in_another(octets in any::<[u8; 4]>()) {
            let v4 = Ipv4Addr::from(octets);
            let [a, b, c, d] = octets.map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            assert!(!is_public(IpAddr::V6(v4.to_ipv6_mapped())));
            assert!(!is_public(IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low))));
            assert!(!is_public(IpAddr::V6(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1))));
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast() || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified() {
                assert!(!is_public(IpAddr::V4(v4)));
            }
        }
    }
}
