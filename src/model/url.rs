//! Where something lies: a folder's path, or a bucket and a prefix. Text to value only.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use super::key::Key;

/// What kind of bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Qiniu Kodo.
    Kodo,
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

impl Scheme {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Kodo, Self::S3, Self::Gs, Self::Az];

    /// As a URL spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kodo => "kodo",
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }
}

/// A place for objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// A folder, its path as it was given.
    Folder(PathBuf),
    /// A bucket, or the part of it below a prefix.
    Bucket {
        /// Where the bucket is.
        scheme: Scheme,
        /// Its name.
        bucket: String,
        /// Literal bytes before every key; empty for the whole bucket.
        prefix: Key,
    },
}

/// What a location is to be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Objects are read from it.
    Source,
    /// Backups lie in it.
    Store,
    /// Objects are restored to it.
    Target,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Store => "store",
            Self::Target => "target",
        }
    }
}

/// A text that is no location, or none that can be used here. No message repeats what could be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// Nothing there.
    #[error("the {0} is empty; give a folder's path or a URL such as kodo://BUCKET")]
    Empty(&'static str),
    /// A scheme that means nothing here.
    #[error(
        "“{scheme}://” is not a known kind of {role}; known are kodo://, s3://, gs://, az:// and a folder's path"
    )]
    Scheme {
        /// What stood before the `://`.
        scheme: String,
        /// What it was to be.
        role: &'static str,
    },
    /// `kodo:bucket` or `s3:/bucket`.
    #[error(
        "after “{0}:” two slashes are missing: write {0}://BUCKET (or ./{0}:… for a folder of that name)"
    )]
    Slashes(&'static str),
    /// No bucket where one must be.
    #[error(
        "the bucket's name is missing or has characters that no bucket's name has; write {0}://BUCKET/PREFIX"
    )]
    Bucket(&'static str),
    /// A password or a key inside the URL.
    #[error(
        "the {0}'s URL has a secret in it; keys come from the environment or a credentials file, never from a URL"
    )]
    Secret(&'static str),
    /// A prefix no key can begin with.
    #[error("the prefix of the {0} is longer than any key")]
    Long(&'static str),
    /// A NUL byte in a path.
    #[error("the path of the {0} has a NUL byte in it")]
    Nul(&'static str),
    /// A Kodo bucket as a store.
    #[error(
        "a Kodo bucket is a source or a target, not a store; keep the backups in a folder, or reach the bucket \
         through its S3 endpoint with s3://BUCKET"
    )]
    KodoStore,
    /// Known, but this version cannot do it.
    #[error("{scheme}:// as a {role} is not supported by this version; supported are {known}")]
    Unsupported {
        /// The scheme.
        scheme: &'static str,
        /// What it was to be.
        role: &'static str,
        /// What is possible instead.
        known: &'static str,
    },
}

/// Which kinds of bucket this version can use, by role. A folder can be all three.
pub const SUPPORTED: [(Role, &[Scheme], &str); 3] = [
    (Role::Source, &[Scheme::Kodo], "kodo://BUCKET and a folder's path"),
    (Role::Store, &[], "a folder's path"),
    (Role::Target, &[], "a folder's path"),
];

impl Location {
    /// Reads what a person or a configuration file gave for `role`.
    pub fn parse(text: &OsStr, role: Role) -> Result<Self, BadLocation> {
        let bytes = text.as_encoded_bytes();
        if bytes.is_empty() {
            return Err(BadLocation::Empty(role.name()));
        }
        let Some((word, rest)) = split_scheme(bytes) else {
            if bytes.contains(&0) {
                return Err(BadLocation::Nul(role.name()));
            }
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        let word = word.to_ascii_lowercase();
        let scheme = Scheme::ALL.into_iter().find(|s| s.name() == word);
        let Some(rest) = rest.strip_prefix(b"//") else {
            return match scheme {
                Some(s) => Err(BadLocation::Slashes(s.name())),
                // A folder may have a colon in its name.
                None => Ok(Self::Folder(PathBuf::from(text))),
            };
        };
        let Some(scheme) = scheme else {
            return Err(BadLocation::Scheme { scheme: word.chars().take(20).collect(), role: role.name() });
        };
        if scheme == Scheme::Kodo && role == Role::Store {
            return Err(BadLocation::KodoStore);
        }
        let slash = rest.iter().position(|b| *b == b'/');
        let (bucket, prefix) = rest.split_at(slash.unwrap_or(rest.len()));
        let prefix = prefix.strip_prefix(b"/").unwrap_or(prefix);
        if bucket.contains(&b'@') || has_secret(rest) {
            return Err(BadLocation::Secret(role.name()));
        }
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if bucket.is_empty() || bucket.len() > 255 || !bucket.iter().all(plain) {
            return Err(BadLocation::Bucket(scheme.name()));
        }
        if prefix.len() > Key::MAX {
            return Err(BadLocation::Long(role.name()));
        }
        let bucket = String::from_utf8_lossy(bucket).into_owned();
        Ok(Self::Bucket { scheme, bucket, prefix: Key::new(prefix) })
    }

    /// Whether this version can use it as `role`.
    pub fn supported(&self, role: Role) -> Result<(), BadLocation> {
        let Self::Bucket { scheme, .. } = self else { return Ok(()) };
        match SUPPORTED.iter().find(|(r, ..)| *r == role) {
            Some((_, schemes, _)) if schemes.contains(scheme) => Ok(()),
            other => Err(BadLocation::Unsupported {
                scheme: scheme.name(),
                role: role.name(),
                known: other.map_or("", |(_, _, known)| known),
            }),
        }
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) => Some(path),
            Self::Bucket { .. } => None,
        }
    }
}

/// The word before the first colon, if it looks like a scheme, and what follows the colon.
fn split_scheme(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let colon = bytes.iter().position(|b| *b == b':')?;
    let word = std::str::from_utf8(&bytes[..colon]).ok()?;
    let mut letters = word.bytes();
    let fits = letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    fits.then_some((word, &bytes[colon + 1..]))
}

/// Names that a signed or keyed URL carries its secret under. A prefix is literal and may hold a `?`, so nothing
/// but these is suspect.
const SECRETS: [&str; 15] = [
    "access_key",
    "accesskey",
    "access-key",
    "secret_key",
    "secretkey",
    "secret-key",
    "secret",
    "password",
    "passwd",
    "token",
    "sig",
    "signature",
    "x-amz-signature",
    "x-amz-credential",
    "awsaccesskeyid",
];

fn has_secret(rest: &[u8]) -> bool {
    let Some(question) = rest.iter().position(|b| *b == b'?') else { return false };
    rest[question + 1..].split(|b| matches!(b, b'&' | b'?' | b';')).any(|pair| {
        let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
        pair.len() > name.len() && SECRETS.iter().any(|s| name.eq_ignore_ascii_case(s.as_bytes()))
    })
}

/// For people and for the record: the URL without secrets (there are none in it), or the path.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", Key::new(path.as_os_str().as_encoded_bytes())),
            Self::Bucket { scheme, bucket, prefix } if prefix.bytes().is_empty() => {
                write!(f, "{}://{bucket}", scheme.name())
            }
            Self::Bucket { scheme, bucket, prefix } => write!(f, "{}://{bucket}/{prefix}", scheme.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, role: Role) -> Result<Location, BadLocation> {
        Location::parse(OsStr::new(text), role)
    }

    fn bucket(scheme: Scheme, bucket: &str, prefix: &str) -> Location {
        Location::Bucket { scheme, bucket: bucket.into(), prefix: prefix.into() }
    }

    #[test]
    fn locations_parse_and_print() {
        for (text, expected) in [
            ("kodo://yewwah", bucket(Scheme::Kodo, "yewwah", "")),
            ("kodo://yewwah/", bucket(Scheme::Kodo, "yewwah", "")),
            ("KODO://b/photos", bucket(Scheme::Kodo, "b", "photos")),
            ("s3://b.c-d_e//x/%2F a?b=c#d", bucket(Scheme::S3, "b.c-d_e", "/x/%2F a?b=c#d")),
            ("gs://b/目录/", bucket(Scheme::Gs, "b", "目录/")),
            ("az://b/..", bucket(Scheme::Az, "b", "..")),
            ("./backup", Location::Folder("./backup".into())),
            ("/a/kodo://b", Location::Folder("/a/kodo://b".into())),
            ("a:b", Location::Folder("a:b".into())),
            ("./s3:x", Location::Folder("./s3:x".into())),
            ("2:x", Location::Folder("2:x".into())),
        ] {
            let parsed = parse(text, Role::Source).unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parse(&parsed.to_string(), Role::Source).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_refused_and_why() {
        use BadLocation as B;
        for (text, role, expected) in [
            ("", Role::Store, B::Empty("store")),
            ("ftp://x/y", Role::Source, B::Scheme { scheme: "ftp".into(), role: "source" }),
            ("https://u:hunter2@x", Role::Store, B::Scheme { scheme: "https".into(), role: "store" }),
            ("kodo:b", Role::Source, B::Slashes("kodo")),
            ("s3:/b", Role::Store, B::Slashes("s3")),
            ("kodo://", Role::Source, B::Bucket("kodo")),
            ("kodo:///x", Role::Source, B::Bucket("kodo")),
            ("s3://a b", Role::Source, B::Bucket("s3")),
            ("s3://ak:hunter2@b/x", Role::Source, B::Secret("source")),
            ("s3://b/x?Secret_Key=hunter2", Role::Source, B::Secret("source")),
            ("s3://b?X-Amz-Signature=hunter2&a=b", Role::Source, B::Secret("source")),
            ("az://b/x?sv=1&sig=hunter2", Role::Target, B::Secret("target")),
            ("kodo://b/x?e=1&token=hunter2", Role::Target, B::Secret("target")),
            ("kodo://b", Role::Store, B::KodoStore),
            ("a\0b", Role::Store, B::Nul("store")),
        ] {
            let error = parse(text, role).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn what_this_version_can_use() {
        let kodo = bucket(Scheme::Kodo, "b", "");
        assert!(kodo.supported(Role::Source).is_ok());
        let error = bucket(Scheme::S3, "b", "").supported(Role::Store).unwrap_err().to_string();
        assert_eq!(error, "s3:// as a store is not supported by this version; supported are a folder's path");
        for role in [Role::Source, Role::Store, Role::Target] {
            assert!(Location::Folder("x".into()).supported(role).is_ok());
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(kodo|s3|az)?:?/{0,2}.*") {
            let _ = parse(&text, Role::Source).map(|l| l.to_string());
        }
    }
}
