//! An address and a port as an option names them: `10.0.2.2:8000`.

use smoltcp::wire::{IpEndpoint, Ipv4Address};

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is no colon, or more than one.
    #[error("not of the form ADDRESS:PORT")]
    Form,
    /// The part before the colon is no IPv4 address.
    #[error("no IPv4 address before the colon")]
    Address,
    /// The part after the colon is no port.
    #[error("no port from 1 to 65535 behind the colon")]
    Port,
}

/// Reads `ADDRESS:PORT`.
pub fn parse_endpoint(text: &str) -> Result<IpEndpoint, EndpointError> {
    let (address, port) = text.split_once(':').ok_or(EndpointError::Form)?;
    let address: Ipv4Address = address.parse().map_err(|_| EndpointError::Address)?;
    let port = port.parse().map_err(|_| EndpointError::Port)?;
    if port == 0 {
        return Err(EndpointError::Port);
    }
    Ok(IpEndpoint { addr: address.into(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_and_a_port_pass() {
        let parsed = parse_endpoint("10.0.2.2:8000").unwrap();
        assert_eq!((parsed.addr, parsed.port), (Ipv4Address::new(10, 0, 2, 2).into(), 8000));
        for (text, error) in [
            ("10.0.2.2", EndpointError::Form),
            ("10.0.2:80", EndpointError::Address),
            ("host:80", EndpointError::Address),
            ("10.0.2.2:0", EndpointError::Port),
            ("10.0.2.2:65536", EndpointError::Port),
            ("::1", EndpointError::Address),
        ] {
            assert_eq!(parse_endpoint(text), Err(error), "{text}");
        }
    }
}
