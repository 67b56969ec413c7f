//! Which request is what: by the address it came to, its method, path and `Authorization` header.

use http::Method;

use super::request::Request;

/// Which of the service's addresses a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Management and uploads; downloads too, unless the domain has an address of its own.
    Main,
    /// Only downloads, always with a token.
    Source,
    /// Only downloads, with a token if the bucket is private.
    Domain,
}

/// What kind of call a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The region query.
    Query,
    /// The bucket's domains.
    Domains,
    /// The list of buckets, a bucket's settings.
    Bucket,
    /// A listing page, v1 or v2.
    List,
    /// Stat of one object.
    Stat,
    /// A batch.
    Batch,
    /// A change of one object: metadata, class, status, copy, move, thaw.
    Change,
    /// Deletion of one object.
    Delete,
    /// A download.
    Download,
    /// Any step of an upload.
    Upload,
    /// Nothing the service knows.
    Unknown,
}

/// What a management or upload path calls.
fn call(path: &str, method: &Method) -> Option<Kind> {
    let mut segments = path.strip_prefix('/')?.split('/');
    Some(match segments.next()? {
        "v2" | "v3" | "v4" => match (segments.next()?, segments.next()) {
            ("query", None) => Kind::Query,
            ("domains", None) => Kind::Domains,
            ("bucketInfo", None) => Kind::Bucket,
            ("list", None) => Kind::List,
            _ => return None,
        },
        "regions" => Kind::Query,
        "buckets" => match segments.next() {
            None | Some("") => Kind::Bucket,
            Some(_) => Kind::Upload,
        },
        "list" => Kind::List,
        "stat" => Kind::Stat,
        "batch" => Kind::Batch,
        "delete" => Kind::Delete,
        "copy" | "move" | "chgm" | "chtype" | "chstatus" | "deleteAfterDays" | "lifecycle" | "restoreAr" => {
            Kind::Change
        }
        "mkblk" | "bput" | "mkfile" => Kind::Upload,
        "" if *method == Method::POST => Kind::Upload,
        _ => return None,
    })
}

impl Kind {
    /// What an unsigned GET that names no object would have been.
    pub(super) fn unsigned(request: &Request) -> Self {
        call(&request.path, &request.method).unwrap_or(Self::Unknown)
    }

    /// What the request is. `downloads`: whether the main address serves them.
    pub(super) fn of(request: &Request, downloads: bool) -> Self {
        let reading = matches!(request.method, Method::GET | Method::HEAD);
        if request.role != Role::Main {
            return Self::Download;
        }
        let called = call(&request.path, &request.method);
        if reading && !request.headers.contains_key(http::header::AUTHORIZATION) {
            if called == Some(Self::Query) && request.param("bucket").is_some() {
                return Self::Query;
            }
            if downloads {
                return Self::Download;
            }
        }
        called.unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(method: &str, target: &str, signed: bool, downloads: bool) -> Kind {
        let mut builder = http::Request::builder().method(method).uri(target);
        if signed {
            builder = builder.header("authorization", "Qiniu x:y");
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        Kind::of(&Request::new(Role::Main, &parts), downloads)
    }

    #[test]
    fn one_address_for_all() {
        assert_eq!(kind("GET", "/v4/query?ak=a&bucket=b", false, true), Kind::Query);
        assert_eq!(kind("GET", "/v4/query", false, true), Kind::Download, "an object of that name");
        assert_eq!(kind("GET", "/list?bucket=b", false, true), Kind::Download);
        assert_eq!(kind("GET", "/list?bucket=b", true, true), Kind::List);
        assert_eq!(kind("POST", "/list?bucket=b", false, true), Kind::List);
        assert_eq!(kind("GET", "/stat/x", false, false), Kind::Stat);
        assert_eq!(kind("POST", "/", false, true), Kind::Upload);
        assert_eq!(kind("GET", "/", false, true), Kind::Download, "the empty key");
        assert_eq!(kind("PUT", "/buckets/b/objects/~/uploads/1/1", true, true), Kind::Upload);
        assert_eq!(kind("GET", "/buckets", true, true), Kind::Bucket);
        assert_eq!(kind("POST", "/nothing", true, true), Kind::Unknown);
    }
}
