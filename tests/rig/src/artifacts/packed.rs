//! Files that may be compressed, told by their first bytes: a name says little of a file of somebody's own.

use std::io::{self, Read};

use flate2::read::GzDecoder;
use xz2::read::XzDecoder;

/// What is compressed by each, and by which name one knows it; of the first three we unpack what there is.
const KINDS: [(&[u8], &str); 7] = [
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x5d\0\0", "lzma"),
    (b"\x89LZO", "lzo"),
];

/// What these bytes are compressed by; none: by nothing that is known.
pub(super) fn kind(bytes: &[u8]) -> Option<&'static str> {
    KINDS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| *name)
}

/// What was compressed, or the bytes as they are if nothing was.
pub(crate) fn unpacked(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    match kind(&bytes) {
        Some("gzip") => GzDecoder::new(&bytes[..]).read_to_end(&mut out)?,
        Some("xz") => XzDecoder::new(&bytes[..]).read_to_end(&mut out)?,
        Some("zstd") => ruzstd::decoding::StreamingDecoder::new(&bytes[..])
            .map_err(io::Error::other)?
            .read_to_end(&mut out)?,
        Some(other) => return Err(io::Error::other(format!("{other} is not unpacked here"))),
        None => return Ok(bytes),
    };
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn what_is_compressed_is_unpacked_and_all_else_left_as_it_is() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"Xen").unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(unpacked(gzip.clone()).unwrap(), b"Xen");
        assert!(unpacked(gzip[..gzip.len() - 9].to_vec()).is_err(), "cut off");
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(b"Linux").unwrap();
        assert_eq!(unpacked(xz.finish().unwrap()).unwrap(), b"Linux");
        assert_eq!(unpacked(b"\x7fELF".to_vec()).unwrap(), b"\x7fELF");
        let error = unpacked(b"BZh91AY".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "bzip2 is not unpacked here");
    }
}
