//! The `$(name)` variables of a policy's templates.

use std::collections::BTreeMap;

use serde_json::Value;

/// The values of the variables: text or numbers, by name.
pub(super) type Vars = BTreeMap<String, Value>;

/// The pieces of a template: literal text and names.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("$(") {
        let Some((name, tail)) = after.split_once(')') else { break };
        out.push(Piece::Text(before));
        out.push(Piece::Name(name));
        rest = tail;
    }
    out.push(Piece::Text(rest));
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// A template for a name: variables become their plain text, unknown ones nothing.
pub(super) fn name(template: &str, vars: &Vars) -> String {
    let part = |piece| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Name(name) => vars.get(name).map(plain).unwrap_or_default(),
    };
    pieces(template).into_iter().map(part).collect()
}

/// A template for JSON: inside a string a variable becomes escaped text, elsewhere a JSON value.
pub(super) fn json(template: &str, vars: &Vars) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => {
                let mut escaped = false;
                for c in text.chars() {
                    quoted ^= c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                }
                out += text;
            }
            Piece::Name(name) => {
                let value = vars.get(name).cloned().unwrap_or_default();
                out += &match (quoted, value) {
                    (false, value) => value.to_string(),
                    (true, value) => {
                        let text = Value::String(plain(&value)).to_string();
                        text[1..text.len() - 1].to_owned()
                    }
                };
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let vars: Vars = [("key", Value::from("a\"b")), ("fsize", Value::from(3)), ("x:v", Value::from("w"))]
            .map(|(k, v)| (k.to_owned(), v))
            .into();
        assert_eq!(name("p/$(key)-$(fsize)$(none)$(x:v)$(", &vars), "p/a\"b-3w$(");
        let text = json(r#"{"k":"<$(key)>","s":$(fsize),"q":$(key),"e":"\"$(x:v)","n":$(none)}"#, &vars);
        assert_eq!(text, r#"{"k":"<a\"b>","s":3,"q":"a\"b","e":"\"w","n":null}"#);
    }
}
