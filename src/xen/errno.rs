//! Xen's error numbers (`public/errno.h`), decoded in one place.

use core::fmt;

macro_rules! errno {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// What Xen answers when it refuses; numbers not named here are kept as they came.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum XenError {
            $(#[doc = $text] $name,)*
            /// A number this guest has no name for.
            Unknown(i64),
        }

        impl XenError {
            /// The error behind a negative hypercall result.
            pub const fn from_raw(raw: i64) -> Self {
                match -raw {
                    $($number => Self::$name,)*
                    _ => Self::Unknown(raw),
                }
            }

            /// The number as Xen returns it, negative.
            pub const fn raw(self) -> i64 {
                match self {
                    $(Self::$name => -$number,)*
                    Self::Unknown(raw) => raw,
                }
            }

            const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown(_) => "unknown error",
                }
            }
        }
    };
}

errno! {
    NotPermitted = 1, "EPERM";
    NoEntry = 2, "ENOENT";
    NoSuchDomain = 3, "ESRCH";
    Interrupted = 4, "EINTR";
    Io = 5, "EIO";
    TooBig = 7, "E2BIG";
    TryAgain = 11, "EAGAIN";
    NoMemory = 12, "ENOMEM";
    AccessDenied = 13, "EACCES";
    BadAddress = 14, "EFAULT";
    Busy = 16, "EBUSY";
    Exists = 17, "EEXIST";
    NoDevice = 19, "ENODEV";
    NotADirectory = 20, "ENOTDIR";
    Invalid = 22, "EINVAL";
    NoSpace = 28, "ENOSPC";
    OutOfRange = 34, "ERANGE";
    NotImplemented = 38, "ENOSYS";
    NotSupported = 95, "EOPNOTSUPP";
}

impl fmt::Display for XenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.raw())
    }
}

impl core::error::Error for XenError {}

/// Splits a hypercall's result: not negative is the answer, negative the error.
pub const fn decode(raw: i64) -> Result<u64, XenError> {
    if raw < 0 { Err(XenError::from_raw(raw)) } else { Ok(raw.unsigned_abs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_numbers_survive() {
        assert_eq!(decode(-12), Err(XenError::NoMemory));
        assert_eq!(decode(-4095).unwrap_err().raw(), -4095);
        assert_eq!((decode(0), decode(7)), (Ok(0), Ok(7)));
        assert_eq!(alloc::format!("{}", XenError::NotPermitted), "EPERM (-1)");
    }
}
